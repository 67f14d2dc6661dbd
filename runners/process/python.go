package process

import (
	"github.com/weir-run/weir/runners"
)

type pythons struct{}

func (p *pythons) command(config runners.Config, job *Job, entrypoint string) ([]string, error) {
	return nil, refused("nothing")
}
