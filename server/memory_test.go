package server

import (
	"math"
	"testing"
)

func TestSoftLimit_isAQuarterButNeverTiny(t *testing.T) {
	for _, c := range []struct{ total, want int64 }{
		{0, 512 << 20},
		{1 << 30, 512 << 20},
		{8 << 30, 2 << 30},
	} {
		if got := softLimit(c.total); got != c.want {
			t.Errorf("softLimit(%d) = %d, want %d", c.total, got, c.want)
		}
	}
}

func TestCgroupLimit_readsBothVersions(t *testing.T) {
	for text, want := range map[string]int64{
		"1073741824\n": 1 << 30, "max\n": math.MaxInt64, "": math.MaxInt64, "9223372036854771712\n": 9223372036854771712,
	} {
		if got := cgroupLimit(text); got != want {
			t.Errorf("cgroupLimit(%q) = %d, want %d", text, got, want)
		}
	}
}
