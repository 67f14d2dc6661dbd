package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/weir-run/weir/consumers"
	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/server"
	"github.com/weir-run/weir/streams"
)

func upCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "server, deployments and a worker for each process or push pool, all in one process",
		Description: "Deploys the project file of this folder, weir.yaml or prefect.yaml, and creates process pools that it names and nobody has.\n" +
			"Executes the runs of process pools, and of push pools (ecs:push) as weir server start does, also of those that are created later.\n" +
			"Pools of other types have their workers beside it: weir worker start.\n\n" + durabilityText,
		Flags: serverFlags(
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "project `FILE` (default: weir.yaml, else prefect.yaml, where there is one)"},
			&cli.StringFlag{Name: "run", Usage: "run this `DEPLOYMENT` once and show its states and output"},
			&cli.BoolFlag{Name: "once", Usage: "with --run: stop after that run; exit code 0 when it completes, else 1"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "runs that each pool's worker holds at once", Value: defaultSlots, DefaultText: slotsText},
		),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg := upConfig{file: c.String("file"), run: c.String("run"), once: c.Bool("once"), slots: c.Int("limit")}
			switch {
			case cfg.once && cfg.run == "":
				return usagef("--once stops after the run that --run names: give --run DEPLOYMENT too")
			case cfg.slots < 1 || cfg.slots > consumers.MaxSlots:
				return usagef("--limit is %d; a worker holds 1 to %d runs at once", cfg.slots, consumers.MaxSlots)
			}
			var err error
			if cfg.settings, err = readSettings(c); err != nil {
				return err
			}
			cfg.level = new(slog.LevelVar)
			cfg.level.Set(e.level())
			cfg.log = e.logger(cfg.level)
			cfg.server = readServerConfig(c, cfg.log)
			drain, stop, release := e.stopping(c.Context)
			defer release()
			return up(drain, stop, e, cfg)
		},
	}
}

type upConfig struct {
	server   server.Config
	settings streams.Settings // of the shared streams
	file     string           // empty: weir.yaml or prefect.yaml where there is one
	run      string           // deployment to run once; empty: none
	once     bool             // stop after that run
	slots    int              // of each worker
	log      *slog.Logger
	level    *slog.LevelVar // of log
}

// up runs everything until drain ends, or, with once, the run does. Started: server, deployments, workers; stopped in the
// reverse order.
func up(drain, stop context.Context, e *env, cfg upConfig) (err error) {
	project, err := e.projectOf(cfg)
	if err != nil {
		return err
	}
	srv, conn, err := startServer(drain, e, cfg.server, cfg.settings)
	if err != nil {
		return unlessTold(drain, err)
	}
	defer func() {
		conn.Close()
		err = errors.Join(unlessTold(drain, err), stopServer(srv))
	}()
	defer keep(conn, cfg.log)()
	created, err := e.deployUp(drain, conn, project)
	if err != nil {
		return err
	}
	workers, err := e.upWorkers(conn, srv, cfg)
	if err != nil {
		return err
	}
	working, endWork := context.WithCancel(drain)
	var following sync.WaitGroup
	defer func() {
		endWork()
		following.Wait()
		workers.Wait()
	}()
	ready, err := workers.Start(working, stop)
	if err != nil || drain.Err() != nil {
		return err
	}
	following.Go(func() { workers.Follow(working, stop) })
	if err := e.sayUp(srv, cfg, project, created, ready); err != nil {
		return err
	}
	if cfg.run != "" {
		err := e.runOnce(drain, conn, cfg)
		if cfg.once || err != nil && !is[*runFailedError](err) {
			return err
		}
		if err != nil {
			e.printError(err)
		}
	}
	if drain.Err() != nil {
		return nil
	}
	e.sayNext(srv, conn, project)
	select {
	case <-drain.Done():
		return nil
	case <-srv.Done():
		return errors.New("the embedded NATS server stopped by itself; its log lines above say why")
	}
}

// unlessTold is err, unless it comes of the end that somebody asked for.
func unlessTold(drain context.Context, err error) error {
	if drain.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)) {
		return nil
	}
	return err
}

// projectOf loads the project file; nil where there is none and none was named.
func (e *env) projectOf(cfg upConfig) (*deploy.Project, error) {
	if cfg.file == "" {
		if _, err := deploy.Find("."); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	return e.loadProject(cfg.file, nil)
}

// deployUp deploys the project and returns the pools that were created because nobody had them.
func (e *env) deployUp(ctx context.Context, conn *streams.Conn, project *deploy.Project) (created []string, err error) {
	if project == nil {
		return nil, nil
	}
	diff, err := e.planProject(ctx, conn, project, deploy.Options{CreateMissingPools: true, Types: poolTypes})
	if err != nil {
		return nil, err
	}
	for _, p := range diff.Pools {
		if p.Action == deploy.Create {
			created = append(created, p.Name)
		}
	}
	return created, deploy.Apply(ctx, conn, diff)
}

// runOnce requests the run and shows it. The log keeps quiet meanwhile: it would say the same.
func (e *env) runOnce(ctx context.Context, conn *streams.Conn, cfg upConfig) error {
	if cfg.level.Level() == slog.LevelInfo {
		cfg.level.Set(slog.LevelWarn)
		if !cfg.once {
			defer cfg.level.Set(slog.LevelInfo)
		}
	}
	run, err := requestRun(ctx, conn, runConfig{deployment: cfg.run})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nRun %s of %s on pool %s\n", run.Run, run.Deployment, run.Pool)
	err = e.watchRun(ctx, conn, run, "table")
	if ctx.Err() != nil && !cfg.once {
		return nil // told to stop, as up is
	}
	return err
}
