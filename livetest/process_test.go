//go:build unix

package livetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// process is a member that was started.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	err    error         // valid then
}

// join starts a member.
func (r *run) join(name string) { r.joinAs(name, r.setup.behaviour) }

func (r *run) joinAs(name string, b behaviour) {
	r.t.Helper()
	b.Seed = r.seed
	source, args := r.cluster.Source(r.stream, r.group)
	raw, err := json.Marshal(args)
	if err != nil {
		r.t.Fatal(err)
	}
	spec := memberSpec{Name: name, History: filepath.Join(r.dir, "history"), Source: source, Args: raw, Behaviour: b}
	if r.outputs != "" {
		_, args := r.cluster.Source(r.outputs, "")
		if spec.Outputs, err = json.Marshal(args); err != nil {
			r.t.Fatal(err)
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.dir, name+".log")
	log, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the member has its own
	r.logs = append(r.logs, path)
	m := &process{name: name, cmd: exec.Command(self), exited: make(chan struct{})}
	m.cmd.Env = append(os.Environ(), memberVariable+"="+string(text))
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.members[name] = m
	go func() {
		m.err = m.cmd.Wait()
		close(m.exited)
	}()
}

// leave ends members in order, all at once, and waits until they are gone.
func (r *run) leave(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.until(name+" has begun", func() bool { return r.begun[name] }) // before, it does not know what SIGTERM means
		if err := r.members[name].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range names {
		m := r.members[name]
		r.wait(m.exited, name+" does not end")
		if m.err != nil && !r.setup.mayFail {
			r.t.Errorf("%s: %v", name, m.err)
		}
		delete(r.members, name)
	}
}

// kill ends a member at once.
func (r *run) kill(name string) {
	r.t.Helper()
	m := r.members[name]
	r.record.Write(Event{Kind: Dying, Member: name})
	if err := m.cmd.Process.Kill(); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
	r.wait(m.exited, name+" cannot be killed")
	r.record.Write(Event{Kind: Killed, Member: name})
	delete(r.members, name)
}

// pause freezes a member; goOn thaws it.
func (r *run) pause(name string) {
	r.t.Helper()
	r.record.Write(Event{Kind: Paused, Member: name})
	if err := r.members[name].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
}

func (r *run) goOn(name string) {
	r.t.Helper()
	r.record.Write(Event{Kind: Continued, Member: name})
	if err := r.members[name].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
}
