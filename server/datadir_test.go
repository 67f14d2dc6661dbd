package server

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestEnough_refusesAFullDiskAndSaysHowFull(t *testing.T) {
	for _, c := range []struct {
		free uint64
		want string // "" means accepted
	}{
		{1 << 40, ""},
		{minFree, ""},
		{minFree - 1, "has 63 MiB of disk left and needs 64"},
		{0, "has 0 MiB of disk left and needs 64"},
	} {
		err := enough("/data", c.free)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("enough(%d) = %v, want %q", c.free, err, c.want)
		}
		if err != nil && (!errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.ENOSPC)) {
			t.Errorf("enough(%d) = %v, want ErrUnavailable and ENOSPC", c.free, err)
		}
	}
}
