package console

import (
	"cmp"
	"slices"
	"time"

	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

// Diagnose returns findings about a pipeline, worst first: each one sentence with its numbers. There is always at least one. now is
// its Snapshot, and before an earlier one of the same Run, some seconds older: without it (zero) nothing is said of rates.
//
// It is a pure function, and takes O(partitions).
func Diagnose(now, before pipeline.Snapshot) []Finding {
	d := &diagnosis{now: now, before: before}
	if !before.At.IsZero() && before.Started.Equal(now.Started) {
		d.period = now.At.Sub(before.At)
	}
	if d.runs() {
		for _, rule := range []func(){
			d.troubles, d.losses, d.commits, d.stuck, d.releases, d.waits, d.blocked, d.retries, d.workers, d.order, d.largest, d.lag,
		} {
			rule()
		}
		d.well()
	}
	slices.SortStableFunc(d.all, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return d.all
}

// diagnosis is one call of Diagnose. Each of its rules adds what it finds.
type diagnosis struct {
	now, before pipeline.Snapshot
	period      time.Duration // between the two; 0 if there is no earlier one
	all         []Finding
}

func (d *diagnosis) add(f Finding) { d.all = append(d.all, f) }

// ago returns how long something has lasted.
func (d *diagnosis) ago(since time.Time) time.Duration { return max(0, d.now.At.Sub(since)) }

// runs reports whether the pipeline runs. If not, nothing else is worth saying.
func (d *diagnosis) runs() bool {
	switch s := &d.now; s.State {
	case pipeline.Running:
		return true
	case pipeline.Built:
		d.add(Finding{Severity: Failing, Text: s.Name + " does not run: Run was not called.", Do: "Call Run."})
	case pipeline.Stopping:
		d.add(Finding{
			Severity: Failing, Text: text("%s is stopping: %s left to release.", s.Name, some(len(s.Partitions), "partition")),
			Do: "Wait for its end, then start it again.",
		})
		d.stuck()
		d.releases()
	case pipeline.Stopped:
		d.add(Finding{
			Severity: Failing, Text: text("%s has stopped: %s were settled.", s.Name, some(s.Settled, "message")),
			Do: "Read the error of Run, then start it again.",
		})
	}
	return false
}

// troubles tells what fails outside: the source, the sinks, the store of diverted keys.
func (d *diagnosis) troubles() {
	for _, t := range d.now.Source.Trouble {
		d.add(Finding{
			Severity: Failing, Since: t.Since, Text: text("%s fails at the source for %v: %v.", cut(t.What), d.ago(t.Since), t.Err),
			Do: "Repair what the error names. It is tried again meanwhile.",
		})
	}
	if stalled := d.now.Source.Stalled; len(stalled) > 0 {
		d.add(Finding{
			Severity: Failing, Partition: stalled[0],
			Text: text("Nothing arrives from the source for %s with a backlog, such as %v.", some(len(stalled), "partition"), name(stalled[0])),
			Do:   "Look at the brokers of these partitions.",
		})
	}
	if r := d.now.Source; r.State != "" && !r.Ready && len(r.Trouble) == 0 {
		d.add(Finding{Severity: Waiting, Text: text("The source does not take part in its group yet: it is %q.", r.State)})
	}
	for _, t := range d.now.Sinks {
		kind := "sink"
		if t.DeadLetters {
			kind = "dead-letter sink"
		}
		d.add(Finding{
			Severity: Failing, Since: t.Since, Text: text("The %s %s cannot be written for %v: %v.", kind, cut(t.Sink), d.ago(t.Since), t.Err),
			Do: "Repair what the error names. Writes are tried again meanwhile, and the messages wait.",
		})
	}
	if v := d.now.Diverting; v.Err != nil {
		d.add(Finding{Severity: Failing, Since: v.Since, Text: text("The store of diverted keys fails for %v: %v; %s wait.", d.ago(v.Since), v.Err,
			some(v.Strands, "diverted key")), Do: "Repair the store. Its calls are tried again meanwhile."})
	}
}

// losses tells of ownerships that were lost within the period, or in the last ten minutes.
func (d *diagnosis) losses() {
	l := d.now.Source.Losses
	n := l.Count
	if d.period > 0 {
		n -= d.before.Source.Losses.Count
	}
	if l.Count == 0 || n <= 0 && d.ago(l.At) > 10*time.Minute {
		return
	}
	d.add(Finding{
		Severity: Failing, Partition: l.Last, Since: l.At,
		Text: text("%s lost in all, the last %v ago: %v, because %s. Its messages were handled again, or by two processes at once.",
			were(l.Count, "ownership"), d.ago(l.At), name(l.Last), l.Why),
		Do: "Look for pauses of this process, and for timeouts that are too short.",
	})
}

// commits tells that commits fail.
func (d *diagnosis) commits() {
	var worst *pipeline.PartitionSnapshot
	n, replays := 0, int64(0)
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		if p.CommitErr == nil {
			continue
		}
		n++
		replays += max(0, p.Frontier-p.Committed) + p.Ahead
		if worst == nil || p.CommitErrSince.Before(worst.CommitErrSince) {
			worst = p
		}
	}
	if n == 0 {
		return
	}
	d.add(Finding{
		Severity: Failing, Partition: worst.ID, Since: worst.CommitErrSince,
		Text: text("Commits of %s fail, of %v for %v: %v. A crash now would repeat up to %s.", some(n, "partition"), name(worst.ID),
			d.ago(worst.CommitErrSince), worst.CommitErr, some(replays, "message")),
		Do: "Repair what the error names. Commits are tried again meanwhile.",
	})
}

// stuck tells of handlers that ignore their ctx.
func (d *diagnosis) stuck() {
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		if p.Stuck == 0 {
			continue
		}
		key := ""
		if len(p.StuckKeys) > 0 {
			key = p.StuckKeys[0]
		}
		f := Finding{
			Severity: Failing, Partition: p.ID, Key: key,
			Text: text("%v: %s not returned although the ctx has ended, such as that of %s; the release waits.", name(p.ID),
				some(p.Stuck, "handler")+" "+have(p.Stuck), keyed(key, -1)),
			Do: "Make handlers return when their ctx ends, or build with AbandonStuck.",
		}
		if p.Leaving != nil {
			f.Since = p.Leaving.Until
		}
		d.add(f)
	}
}

// slowRelease is how long a release may take without a finding.
const slowRelease = 5 * time.Second

// releases adds a finding for each release that takes long.
func (d *diagnosis) releases() {
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		l := p.Leaving
		if l == nil || p.Stuck > 0 || d.ago(l.Since) < slowRelease {
			continue
		}
		f := Finding{Severity: Waiting, Partition: p.ID, Since: l.Since, Text: text("%v is being released for %v", name(p.ID), d.ago(l.Since))}
		if k := p.Oldest; k != nil {
			f.Key = k.Key
			f.Text += text(": %s holds it up, %s", keyed(k.Key, k.Offset), d.because(k))
		}
		if left := l.Until.Sub(d.now.At); left > 0 {
			f.Text += text("; its ctx ends in %v", left)
		}
		f.Text += "."
		d.add(f)
	}
}

// well tells that all is well, unless something else was found.
func (d *diagnosis) well() {
	if slices.ContainsFunc(d.all, func(f Finding) bool { return f.Severity < Info }) {
		return
	}
	f := Finding{Severity: Info, Text: d.now.Name + " keeps up"}
	if d.period > 0 {
		f.Text += text(": %s/s settled", number(d.rate(d.now.Settled-d.before.Settled)))
	}
	if len(d.now.Partitions) == 0 {
		f.Text = d.now.Name + " owns no partition: other members of its group may have all"
	}
	f.Text += "."
	d.add(f)
}

// rate returns how many of n there were in a second of the period.
func (d *diagnosis) rate(n int64) int64 { return int64(float64(n)/d.period.Seconds() + 0.5) }

// name returns a partition without its epoch.
func name(id source.ID) string { return text("%s/%d", id.Stream, id.Partition) }
