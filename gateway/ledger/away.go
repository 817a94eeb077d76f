package ledger

// Away says that messages may have passed unseen, as when the observer's
// connection was lost: live ones up to the next that comes, and of a backlog any.
// What is missing there is [Gap.Unseen] until it comes.
func (l *Ledger) Away() {
	l.left = true
	for _, a := range l.accounts {
		a.unseen = everything
	}
}

// everything: no live record has come since the absence.
const everything = ^uint64(0)

// back takes the number of a live record: what was published before it may have
// been missed, and nothing behind it. One below the highest is sent again, and a
// backlog comes when it likes; neither says anything.
func (a *account) back(seq uint64) {
	if n := len(a.seen); a.unseen == everything && (n == 0 || seq > a.seen[n-1].to) {
		a.unseen = seq - 1
	}
}
