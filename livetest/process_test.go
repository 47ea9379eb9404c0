//go:build unix

package livetest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is a member that was started.
type process struct {
	cmd    *exec.Cmd
	begun  bool          // its pipeline runs
	exited chan struct{} // closed when it has exited
	err    error         // valid then
}

// join starts members that behave as the scenario says.
func (r *run) join(names ...string) {
	r.t.Helper()
	s := spec{
		History: r.record.Name(), behaviour: r.behaviour,
		Input: r.cluster.about().access(r.stream, r.group), Output: r.target.about().access(r.outputs, ""),
		Depot: r.depot,
	}
	s.Input.Alone = r.store == "bolt"
	for _, name := range names {
		s.Name = name
		r.start(s)
	}
}

// start starts a member.
func (r *run) start(s spec) {
	r.t.Helper()
	text, err := json.Marshal(s)
	r.must(err)
	log, err := os.Create(r.log(s.Name))
	r.must(err)
	m := &process{cmd: exec.Command(os.Args[0]), exited: make(chan struct{})}
	m.cmd.Env = append(os.Environ(), memberVariable+"="+string(text))
	m.cmd.Stdout, m.cmd.Stderr = log, log
	r.must(m.cmd.Start())
	_ = log.Close() // the member has its own
	r.members[s.Name] = m
	go func() { m.err = m.cmd.Wait(); close(m.exited) }()
}

// signal writes an event about a member and sends it a signal.
func (r *run) signal(k Kind, name string, s syscall.Signal) {
	r.t.Helper()
	if k != "" {
		r.record.write(Event{Kind: k, Member: name})
	}
	if err := r.members[name].cmd.Process.Signal(s); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
}

// gone waits until a member has exited.
func (r *run) gone(name string) error {
	r.t.Helper()
	m := r.members[name]
	select {
	case <-m.exited:
	case <-time.After(guard): // real time: other processes have no bubble
		r.t.Fatal(name, "does not exit")
	}
	delete(r.members, name)
	return m.err
}

// leave ends members in order, all at once.
func (r *run) leave(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.until(name+" has begun", func() bool { return r.members[name].begun }) // before, SIGTERM kills it
		r.signal("", name, syscall.SIGTERM)
	}
	for _, name := range names {
		if err := r.gone(name); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	}
}

// kill ends members that own something at once, one after the other.
func (r *run) kill(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.until(name+" owns something", func() bool { return !r.idle(name) })
		r.killNow(name)
	}
}

// killNow ends a member at once, whatever it does.
func (r *run) killNow(name string) {
	r.t.Helper()
	r.signal(Dying, name, syscall.SIGKILL)
	_ = r.gone(name)
	r.record.write(Event{Kind: Killed, Member: name})
}

// freeze stops a member until others own all it had: as long as its session lasts.
func (r *run) freeze(name string) {
	r.t.Helper()
	r.until(name+" owns something", func() bool { return !r.idle(name) })
	r.signal(Paused, name, syscall.SIGSTOP)
	r.until("others own what "+name+" had", func() bool { return r.idle(name) })
	r.signal(Continued, name, syscall.SIGCONT)
}

// disturb ends a node, or gives partitions away.
func (r *run) disturb(k Kind, f func() error) {
	r.t.Helper()
	r.record.write(Event{Kind: k})
	err := f()
	r.record.write(Event{Kind: Gone})
	r.must(err)
}

// control has tools/services do something with a node. Several nodes may be of one kind: kafka3 is of kafka.
func (r *run) control(kind, command, name string, node int) error {
	r.t.Helper()
	program := env(r.t, "KEYSTRAND_"+strings.ToUpper(kind)+"_CTL", name)
	if out, err := exec.CommandContext(r.t.Context(), program, command, name, fmt.Sprint(node)).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s %s %d: %w: %s", program, command, name, node, err, out)
	}
	return nil
}

// restart stops or kills a node and starts it again.
func (r *run) restart(k Kind, node int) {
	r.t.Helper()
	s := r.cluster.about()
	r.disturb(k, func() error {
		return r.control(s.way.Service, map[Kind]string{Stopping: "stop", Crashing: "kill"}[k], s.name, node)
	})
	r.must(r.control(s.way.Service, "start", s.name, node))
}

// database stops or kills the database of the store, or starts it.
func (r *run) database(command string) {
	r.t.Helper()
	r.must(r.control(r.depot.Service, command, r.depot.Service, 1))
}

// move gives the partitions of the stream to other nodes.
func (r *run) move() {
	r.t.Helper()
	r.disturb(Stopping, func() error { return r.cluster.move(r.t.Context(), r.stream) })
}
