package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Work is the main function of a child process. It reads its arguments from spec, writes its results to standard output,
// and returns soon after ctx ends.
type Work func(ctx context.Context, spec []byte) error

// WorkOf returns a Work that decodes spec for f.
func WorkOf[S any](f func(ctx context.Context, spec S) error) Work {
	return func(ctx context.Context, spec []byte) error {
		var s S
		if err := json.Unmarshal(spec, &s); err != nil {
			return err
		}
		return f(ctx, s)
	}
}

const workFlag = "-work"

// ServeWork runs the work of a process that [Start] has started, and exits. In other processes it does nothing. It is the
// first call of main.
func ServeWork(works map[string]Work) {
	if len(os.Args) != 4 || os.Args[1] != workFlag {
		return
	}
	work, ok := works[os.Args[2]]
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown work %q\n", os.Args[2])
		os.Exit(2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // standard input ends when the parent calls Ask, or dies
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := work(ctx, []byte(os.Args[3])); err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Process is a child process with one Work: this program again, or another one that calls [ServeWork].
type Process struct {
	Out io.Reader // its standard output
	cmd *exec.Cmd
	in  io.Closer
}

// Start starts this program for a work. The end of ctx kills the process.
func Start(ctx context.Context, work string, spec any) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, self, work, spec)
}

func start(ctx context.Context, program, work string, spec any) (*Process, error) {
	orders, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.CommandContext(ctx, program, workFlag, work, string(orders))}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.Out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, p.cmd.Start()
}

// Run starts this program for a work, waits for its end, and returns the JSON value that it printed.
func Run[R any](ctx context.Context, work string, spec any) (r R, err error) {
	p, err := Start(ctx, work, spec)
	if err != nil {
		return r, err
	}
	return result[R](ctx, p, work)
}

// RunProgram is Run for another program, which calls [ServeWork].
func RunProgram[R any](ctx context.Context, program, work string, spec any) (r R, err error) {
	p, err := start(ctx, program, work, spec)
	if err != nil {
		return r, err
	}
	return result[R](ctx, p, work)
}

func result[R any](ctx context.Context, p *Process, work string) (r R, err error) {
	wrong := json.NewDecoder(p.Out).Decode(&r)
	if err := p.Stop(); err != nil {
		return r, fmt.Errorf("%s: %w", work, errors.Join(err, ctx.Err()))
	}
	if wrong != nil {
		return r, fmt.Errorf("%s: %w", work, wrong)
	}
	return r, nil
}

// Answer prints r, for [Run] in the parent.
func Answer(r any) error { return json.NewEncoder(os.Stdout).Encode(r) }

// Stop asks the process to end, and waits. A goroutine that reads Out must have reached its end before.
func (p *Process) Stop() error {
	p.Ask()
	_, _ = io.Copy(io.Discard, p.Out)
	return p.cmd.Wait()
}

// Ask asks the process to end.
func (p *Process) Ask() { _ = p.in.Close() }

// Kill ends the process as a crash would (SIGKILL). Its earlier output stays in Out.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Wait waits for the end of the process. Read Out to its end before.
func (p *Process) Wait() error { return p.cmd.Wait() }
