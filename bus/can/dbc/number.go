package dbc

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// number is a number as a file writes it: float, and what rounding to float
// took away. If decimal, it is exactly mant * 10^exp.
type number struct {
	float   float64
	rest    float64 // only set if not decimal: see residue
	mant    int64
	exp     int
	decimal bool
}

// parseNumber reads what files use for numbers: decimals with sign, fraction
// and exponent, leading zeros, hexadecimal integers, and the names of what is
// no number, also as Microsoft's C library wrote them ("1.#QNAN").
func parseNumber(word []byte) (number, bool) {
	if len(word) == 0 || len(word) > 400 {
		return number{}, false
	}
	if n, ok := parseDecimal(word); ok {
		return n, true
	}
	s := strings.ToLower(string(word))
	sign, body := 1.0, strings.TrimLeft(s, "+-")
	if len(s)-len(body) > 1 {
		return number{}, false
	}
	if s[0] == '-' {
		sign = -1
	}
	if strings.HasPrefix(body, "0x") {
		u, err := strconv.ParseUint(body[2:], 16, 64)
		n := number{float: sign * float64(u), mant: int64(sign) * int64(u), decimal: u < 1e18}
		return n, err == nil
	}
	switch body {
	case "nan", "1.#qnan", "1.#snan", "1.#ind", "nan(ind)":
		return number{float: math.NaN()}, true
	case "inf", "infinity", "1.#inf":
		return number{float: math.Inf(int(sign))}, true
	}
	return number{}, false
}

func parseDecimal(word []byte) (number, bool) {
	i, neg := 0, false
	if word[0] == '+' || word[0] == '-' {
		neg = word[0] == '-'
		i++
	}
	var n number
	digits, mant := 0, uint64(0)
	n.decimal = true
	point := false
	for ; i < len(word); i++ {
		c := word[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c-'0' > 9 {
			break
		}
		digits++
		switch {
		case mant < 1<<63/10 || mant == 1<<63/10 && c <= '8':
			mant = mant*10 + uint64(c-'0')
			if point {
				n.exp--
			}
		default:
			n.decimal = n.decimal && c == '0'
			if !point {
				n.exp++
			}
		}
	}
	if digits == 0 {
		return n, false
	}
	if i < len(word) {
		e, ok := parseExponent(word[i:])
		if !ok {
			return n, false
		}
		n.exp += e
	}
	// ParseFloat's error can only be a range error here: its result is then
	// infinity, which the callers refuse.
	n.float, _ = strconv.ParseFloat(string(word), 64)
	n.mant = int64(mant)
	if neg {
		n.mant = -n.mant
	} else if mant == 1<<63 {
		n.decimal = false
	}
	if !n.decimal {
		n.rest = residue(string(word), n.float)
		return n, true
	}
	for n.mant != 0 && n.mant%10 == 0 {
		n.mant, n.exp = n.mant/10, n.exp+1
	}
	if n.mant == 0 {
		n.exp = 0
	}
	return n, true
}

// residue returns what is left of a decimal number behind its nearest float64.
func residue(text string, float float64) float64 {
	const precision = 256
	exact, _, err := big.ParseFloat(text, 10, precision, big.ToNearestEven)
	if err != nil || notFinite(float) {
		return 0
	}
	rest, _ := exact.Sub(exact, new(big.Float).SetPrec(precision).SetFloat64(float)).Float64()
	return rest
}

// low returns the residue of any number.
func (n *number) low() float64 {
	if n.decimal {
		return residue(strconv.FormatInt(n.mant, 10)+"e"+strconv.Itoa(n.exp), n.float)
	}
	return n.rest
}

func parseExponent(word []byte) (int, bool) {
	if word[0] != 'e' && word[0] != 'E' || len(word) > 8 {
		return 0, false
	}
	e, err := strconv.Atoi(string(word[1:]))
	return e, err == nil
}

// parseUint reads an unsigned integer, decimal (leading zeros or a plus sign
// allowed) or hexadecimal.
func parseUint(word []byte) (uint64, bool) {
	if len(word) > 0 && word[0] == '+' {
		word = word[1:]
	}
	if len(word) == 0 || len(word) > 40 || word[0]-'0' > 9 {
		return 0, false
	}
	base := 10
	if len(word) > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X') {
		word, base = word[2:], 16
	}
	u, err := strconv.ParseUint(string(word), base, 64)
	return u, err == nil
}

// parseInt reads an integer of 64 bits, signed or not, as its bits. Numbers
// like "1.0" that are integers in fact are accepted.
func parseInt(word []byte) (bits uint64, ok bool) {
	if u, ok := parseUint(word); ok {
		return u, true
	}
	if len(word) > 1 && word[0] == '-' {
		u, ok := parseUint(word[1:])
		return -u, ok && u <= 1<<63 && word[1] != '+'
	}
	n, ok := parseNumber(word)
	if !ok || n.float != math.Trunc(n.float) || math.Abs(n.float) > 1<<53 {
		return 0, false
	}
	return uint64(int64(n.float)), true
}
