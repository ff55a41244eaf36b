package doctor

import (
	"math"
	"math/bits"
	"strconv"
)

// What setseed leaves is told from what it makes random() say. PostgreSQL 15 and later draw from xoroshiro128** (Blackman and
// Vigna), which setseed fills by splitmix64. Seeds of more than three decimals, and connections that have drawn more than
// mostDraws numbers since, are not found.
const mostDraws = 200

// foretold returns, of numbers that random() gave, as text, those that follow from setseed, and from which.
func foretold(drawn map[string]bool) map[string]string {
	wanted := map[float64]string{}
	for text := range drawn {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			wanted[f] = text
		}
	}
	found := map[string]string{}
	if len(wanted) == 0 {
		return found
	}
	for n := -1000; n <= 1000; n++ {
		seed := strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
		g := setseed(float64(n) / 1000)
		for range mostDraws {
			if text, ok := wanted[g.random()]; ok {
				found[text] = seed
			}
		}
	}
	return found
}

// generator is PostgreSQL's pg_prng_state.
type generator struct{ a, b uint64 }

func setseed(seed float64) *generator {
	n := uint64(int64(float64(1<<52-1) * seed)) // as PostgreSQL does: two's complement
	return &generator{splitmix(&n), splitmix(&n)}
}

func splitmix(state *uint64) uint64 {
	*state += 0x9E3779B97f4A7C15
	v := *state
	v = (v ^ v>>30) * 0xBF58476D1CE4E5B9
	v = (v ^ v>>27) * 0x94D049BB133111EB
	return v ^ v>>31
}

// random is the next number.
func (g *generator) random() float64 {
	a, x := g.a, g.b^g.a
	v := bits.RotateLeft64(a*5, 7) * 9
	g.a, g.b = bits.RotateLeft64(a, 24)^x^x<<16, bits.RotateLeft64(x, 37)
	return math.Ldexp(float64(v>>12), -52)
}
