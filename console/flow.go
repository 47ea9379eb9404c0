package console

import (
	"slices"
	"time"

	"github.com/keystrand/keystrand/pipeline"
)

// waits tells of partitions whose fetching waits, and for whom. Of those that wait for the same reason it names the one with the
// largest lag.
func (d *diagnosis) waits() {
	for _, w := range []pipeline.Wait{pipeline.WaitReplay, pipeline.WaitKey, pipeline.WaitBudget, pipeline.WaitDivert, pipeline.WaitPause} {
		if w == pipeline.WaitBudget && d.now.Bottleneck == pipeline.BottleneckWorkers {
			continue // it is used up because all workers are busy
		}
		var worst *pipeline.PartitionSnapshot
		n := 0
		for i := range d.now.Partitions {
			p := &d.now.Partitions[i]
			if p.Leaving != nil || p.Waits != w && !(w == pipeline.WaitPause && p.Paused) || w != pipeline.WaitPause && p.Paused {
				continue
			}
			if n++; worst == nil || p.Lag > worst.Lag {
				worst = p
			}
		}
		if n > 0 {
			d.wait(w, worst, n-1)
		}
	}
}

// wait tells of a partition whose fetching waits, as that of more others does.
func (d *diagnosis) wait(w pipeline.Wait, p *pipeline.PartitionSnapshot, more int) {
	f := Finding{Severity: Waiting, Partition: p.ID}
	rest := len(d.now.Partitions) - more - 1
	switch w { //nolint:exhaustive // the others are no findings
	case pipeline.WaitReplay:
		f.Text = text("%v waits for MaxReplay: %s are settled behind the oldest one", name(p.ID), some(p.Ahead, "message"))
		if k := p.Oldest; k != nil {
			f.Key, f.Since = k.Key, k.Since
			f.Text += text(", %s, which was fetched %v ago: %s", keyed(k.Key, k.Offset), k.Age, d.because(k))
		}
		f.Do = "Repair what the oldest message waits for, or set a larger Limits.MaxReplay."
	case pipeline.WaitKey:
		f.Text = text("%v waits for KeyShare", name(p.ID))
		if len(p.HotKeys) > 0 {
			k := &p.HotKeys[0]
			f.Key, f.Since = k.Key, k.Since
			f.Text += text(": %s has %s of %s messages; %s. Others of this partition wait", keyed(k.Key, k.Offset), number(k.Waiting),
				number(d.now.Limits.KeyShare), d.because(k))
		}
		f.Do = "Make its handler faster, or set a store with Divert."
	case pipeline.WaitBudget:
		f.Text = text("%v waits for the budget: %s of %s messages and %s of %s bytes are in flight", name(p.ID), number(d.now.InFlight),
			number(d.now.Limits.InFlight), number(d.now.InFlightBytes), number(d.now.Limits.InFlightBytes))
		if k := d.largestHolder(); k != nil {
			f.Text += text(", %s of %v", number(k.InFlight), name(k.ID))
		}
		f.Do = "Look at what the messages in flight wait for, or set a larger Limits.InFlight."
	case pipeline.WaitDivert:
		f.Text = text("%v waits for the store of diverted keys, which has %s of %s bytes", name(p.ID), number(d.now.Diverting.Bytes),
			number(d.now.Limits.DivertBytes))
		f.Do = "Repair the store or the keys in it, or set a larger Limits.DivertBytes."
	case pipeline.WaitPause:
		f.Text = text("%v is paused by an operator", name(p.ID))
		if p.Lag > 0 {
			f.Text += text(" with a lag of %s", number(p.Lag))
		}
		f.Do = "Call ResumePartition."
	}
	switch {
	case more > 0:
		f.Text += text("; so %s %s.", isOrAre(more), some(more, "other partition"))
	case rest > 0:
		f.Text += text("; %s %s on.", some(rest, "partition"), goes(rest))
	default:
		f.Text += "."
	}
	d.add(f)
}

// largestHolder returns the partition with the most messages in flight, if it has more than half of them.
func (d *diagnosis) largestHolder() *pipeline.PartitionSnapshot {
	for i := range d.now.Partitions {
		if p := &d.now.Partitions[i]; 2*p.InFlight > d.now.InFlight && len(d.now.Partitions) > 1 {
			return p
		}
	}
	return nil
}

// parked returns the parked keys that wait for a reason, as far as the snapshot lists them, and the one that has waited longest.
func (d *diagnosis) parked(why pipeline.Why, become string) (many string, oldest *pipeline.KeySnapshot, of *pipeline.PartitionSnapshot) {
	const listed = 10 // keys of a partition
	n, full := 0, false
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		for j := range p.ParkedKeys {
			k := &p.ParkedKeys[j]
			if k.Why != why {
				continue
			}
			full = full || j == listed-1
			if n++; oldest == nil || k.Age > oldest.Age {
				oldest, of = k, p
			}
		}
	}
	many = are(n, "key") + " " + become
	if full {
		many = "At least " + many
	}
	return many, oldest, of
}

// blocked tells of keys that are blocked or held.
func (d *diagnosis) blocked() {
	if many, k, p := d.parked(pipeline.WhyBlocked, "blocked"); k != nil {
		d.add(Finding{
			Severity: Failing, Partition: p.ID, Key: k.Key, Since: k.Since,
			Text: text("%s, such as %s of %v with %s: %s.", many, keyed(k.Key, k.Offset), name(p.ID),
				some(k.Waiting, "message"), d.because(k)),
			Do: "Repair what the error names, then call Resume.",
		})
	}
	if d.now.Diverting.Held == 0 {
		return
	}
	f := Finding{
		Severity: Failing, Text: text("%s held for an operator", are(d.now.Diverting.Held, "key")),
		Do: "Read its Records, then call ResumeHeld, SkipHeld or DropHeld.",
	}
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		j := slices.IndexFunc(p.Strands, func(s pipeline.StrandSnapshot) bool { return s.State == pipeline.StrandHeld })
		if j < 0 {
			continue
		}
		s := &p.Strands[j]
		f.Partition, f.Key, f.Since = p.ID, s.Key, d.now.At.Add(-s.Age)
		f.Text += text(", such as %s of %v with %s: %s", keyed(s.Key, -1), name(p.ID), some(s.Records, "message"), cut(s.Err))
		break
	}
	f.Text += "."
	d.add(f)
}

// retries tells of keys that wait for their next attempt.
func (d *diagnosis) retries() {
	many, k, p := d.parked(pipeline.WhyRetry, "parked by retries")
	if k == nil {
		return
	}
	d.add(Finding{
		Severity: Waiting, Partition: p.ID, Key: k.Key, Since: k.Since,
		Text: text("%s, such as %s of %v: %s.", many, keyed(k.Key, k.Offset), name(p.ID), d.because(k)),
		Do:   "Look at what the error names.",
	})
}

// turn returns how long a turn takes on average, as far as the two snapshots tell; else 0.
func (d *diagnosis) turn() time.Duration {
	if n := d.now.Turns - d.before.Turns; d.period > 0 && n > 0 {
		return (d.now.Busy - d.before.Busy) / time.Duration(n)
	}
	return 0
}

// hottest returns the key with the most waiting messages.
func (d *diagnosis) hottest() (k *pipeline.KeySnapshot, of *pipeline.PartitionSnapshot) {
	for i := range d.now.Partitions {
		if p := &d.now.Partitions[i]; len(p.HotKeys) > 0 && (k == nil || p.HotKeys[0].Waiting > k.Waiting) {
			k, of = &p.HotKeys[0], p
		}
	}
	return k, of
}

// workers tells that all workers are busy, and what more of them could give.
func (d *diagnosis) workers() {
	s := &d.now
	if s.Bottleneck != pipeline.BottleneckWorkers {
		return
	}
	f := Finding{
		Severity: Waiting, Text: text("All %s are busy, and %s %s for one", some(s.Workers, "worker"), some(s.Ready, "key"), wait(s.Ready)),
		Do: "Set more Limits.Workers, or make the handler faster.",
	}
	if turn := d.turn(); turn > 0 {
		f.Text += text("; a turn takes %v. With %s more it could be up to %s turns/s instead of %s", turn, some(s.Ready, "worker"),
			number(perSecond(s.Running+s.Ready, turn)), number(d.rate(s.Turns-d.before.Turns)))
		if k, p := d.hottest(); k != nil && k.Waiting > 1 {
			f.Text += text("; the %s that wait of %s (%v) take %v one by one", some(k.Waiting, "message"), keyed(k.Key, k.Offset), name(p.ID),
				turn*time.Duration(k.Waiting))
		}
	}
	f.Text += "."
	d.add(f)
}

func perSecond(n int, turn time.Duration) int64 { return int64(float64(n) / turn.Seconds()) }

// order tells that messages wait for earlier ones of their keys, while workers are idle.
func (d *diagnosis) order() {
	k, p := d.hottest()
	if d.now.Bottleneck != pipeline.BottleneckOrder || k == nil {
		return
	}
	f := Finding{
		Severity: Waiting, Partition: p.ID, Key: k.Key, Since: k.Since,
		Text: text("Messages wait for earlier ones of their keys, while %s of %s are idle: %s of %v has %s; %s", number(d.now.Workers-d.now.Running),
			some(d.now.Workers, "worker"), keyed(k.Key, k.Offset), name(p.ID), some(k.Waiting, "message"), d.because(k)),
		Do: "Make its handler faster, handle batches of a key, or choose keys that are more evenly spread.",
	}
	if turn := d.turn(); turn > 0 && k.Why == pipeline.WhyHandler {
		f.Text += text(". A turn takes %v, so no more than %s/s of one key", turn, number(perSecond(1, turn)))
	}
	f.Text += "."
	d.add(f)
}

// Sizes of lag that are worth a finding.
const (
	leastLag = 1000
	farMore  = 4 // times the average of the others
)

// largest tells that one partition has far more lag than the others.
func (d *diagnosis) largest() {
	total, n := int64(0), int64(0)
	var worst *pipeline.PartitionSnapshot
	streams := map[string]int64{}
	for i := range d.now.Partitions {
		p := &d.now.Partitions[i]
		if p.Lag < 0 {
			continue
		}
		n, total = n+1, total+p.Lag
		streams[p.ID.Stream] += p.Lag
		if worst == nil || p.Lag > worst.Lag {
			worst = p
		}
	}
	if n < 2 || worst.Lag < leastLag {
		return
	}
	f := Finding{Severity: Waiting, Do: "Look at how producers choose keys and partitions, and whether the topic needs more of them."}
	stream := worst.ID.Stream
	switch others := total - streams[stream]; {
	case worst.Lag*(n-1) >= farMore*(total-worst.Lag):
		f.Partition = worst.ID
		f.Text = text("%v has %d %% of the lag of %s, %s of %s: ", name(worst.ID), 100*worst.Lag/total, some(n, "partition"), number(worst.Lag), number(total))
		switch k := hot(worst); {
		case k != nil:
			f.Key = k.Key
			f.Text += text("its messages have few keys, %s of those in flight have %s", number(k.Waiting), keyed(k.Key, k.Offset))
		default:
			f.Text += "its producers send it more, or it began later"
		}
	case len(streams) > 1 && streams[stream] >= farMore*others/int64(len(streams)-1):
		f.Text = text("Stream %s has %d %% of the lag of %s, %s of %s: it is far larger than the others", stream, 100*streams[stream]/total,
			some(len(streams), "stream"), number(streams[stream]), number(total))
	default:
		return
	}
	f.Text += "."
	d.add(f)
}

// hot returns the key that has at least half of the messages of a partition in flight.
func hot(p *pipeline.PartitionSnapshot) *pipeline.KeySnapshot {
	if len(p.HotKeys) > 0 && 2*p.HotKeys[0].Waiting >= p.InFlight {
		return &p.HotKeys[0]
	}
	return nil
}

// lag adds a finding if the lag grows or shrinks. It compares snapshots of the same partitions only.
func (d *diagnosis) lag() {
	if d.period <= 0 || len(d.now.Partitions) != len(d.before.Partitions) {
		return
	}
	lag, was, arrived := int64(0), int64(0), int64(0)
	for i := range d.now.Partitions {
		p, b := &d.now.Partitions[i], &d.before.Partitions[i]
		if p.ID != b.ID || p.Lag < 0 || b.Lag < 0 {
			return
		}
		lag, was, arrived = lag+p.Lag, was+b.Lag, arrived+p.End-b.End
	}
	grown := lag - was
	switch {
	case lag < leastLag:
	case grown > 0:
		d.add(Finding{
			Severity: Waiting, Text: text("The lag is %s and grows by %s/s: %s/s arrive, and %s/s are settled; the bottleneck is %s.", number(lag),
				number(d.rate(grown)), number(d.rate(arrived)), number(d.rate(d.now.Settled-d.before.Settled)), d.now.Bottleneck),
			Do: "See what the other findings say of the bottleneck.",
		})
	case grown < 0:
		left := time.Duration(float64(lag) / float64(-grown) * float64(d.period))
		d.add(Finding{Severity: Info, Text: text("The lag is %s and shrinks by %s/s: it is cleared in %v.", number(lag), number(d.rate(-grown)), left)})
	default:
		d.add(Finding{Severity: Waiting, Text: text("The lag is %s and does not change.", number(lag)), Do: "See what the other findings say."})
	}
}
