package ledger

// Away says that messages may have passed unseen, as when the observer's
// connection was lost: live ones up to the next that comes, and of a backlog any.
// What is missing there is [Gap.Unseen] until it comes.
func (l *Ledger) Away() {
	l.left = true
	for s, a := range l.accounts {
		a.unseen = everything
		x := l.lives[session{s.Gateway, s.Session}]
		over := x != nil && x.live && l.followed[s.Gateway].last != s.Session // another one had come before the absence
		a.cut = a.cut || !over
	}
}

// everything: no live record has come since the absence.
const everything = ^uint64(0)

// back takes the number of a live record: what was published before it may have
// been missed, and nothing behind it. One below the highest is sent again, and a
// backlog comes when it likes; neither says anything.
func (a *account) back(seq uint64) {
	if n := len(a.seen); a.unseen == everything && (n == 0 || seq > a.seen[n-1].to) {
		a.unseen, a.cut = seq-1, false
	}
}

// followed are the sessions of a gateway of which live records came: the first
// one, which may have begun before the observer did, and the last one.
type followed struct{ first, last uint64 }

// follow takes note of a live record. A session that comes behind another one
// began after that.
func (l *Ledger) follow(s session) {
	f, has := l.followed[s.gateway]
	x := l.life(s)
	if x == nil {
		return
	}
	if !has {
		f.first = s.number
	}
	if l.followed == nil {
		l.followed = map[string]followed{}
	}
	if f.last != s.number {
		f.last = s.number
		l.followed[s.gateway] = f
	}
	x.began = x.began || has && !x.live
	x.live = true
}

// began reports whether a session began while the gateway was followed: its live
// records came behind those of another session, or its number is higher than the
// first one's. The sessions of one buffer grow.
func (l *Ledger) began(s Stream, x *life) bool {
	first := l.followed[s.Gateway].first
	return x != nil && x.began || first > 0 && s.Session > first
}

// unknown reports whether nobody knows where a stream ended: the observer was away
// since its last live record, and no clean end says more.
func (l *Ledger) unknown(s Stream, a *account) bool {
	if !a.cut {
		return false
	}
	x := l.lives[session{s.Gateway, s.Session}]
	if x == nil {
		return l.began(s, nil)
	}
	return (x.live || l.began(s, x)) && (!x.ended || x.unclean || x.stored[s.Source] == 0)
}

// Unknown is the number of streams that were followed before an absence and whose
// end nobody knows.
func (l *Ledger) Unknown() (n int) {
	for s, a := range l.accounts {
		if l.unknown(s, a) {
			n++
		}
	}
	return n
}

// holes calls f for all that is missing. A session that began while it was
// observed is missing from its first number on, and of its sources also those of
// which nothing came, if they are known from other sessions: the others may have
// topics that nobody listens to.
func (l *Ledger) holes(fromOne bool, f func(Gap)) {
	for s, a := range l.accounts {
		x := l.lives[session{s.Gateway, s.Session}]
		a.holes(l.stored(s), fromOne || l.began(s, x), func(from, to uint64, unseen bool) {
			f(Gap{s, from, to, unseen})
		})
	}
	for of, x := range l.lives {
		for source, n := range x.stored {
			s := Stream{of.gateway, of.number, source}
			if x.before && l.accounts[s] == nil && l.known[Stream{of.gateway, 0, source}] && l.began(s, x) {
				f(Gap{s, 1, n, l.left})
			}
		}
	}
}
