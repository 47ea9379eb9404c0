package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"
)

// The drawing has two panels with one axis of time: the latency of the other posts, and where the viral post waits.
const (
	chartWidth, chartHeight = 900.0, 560.0
	left, right             = 76.0, chartWidth - 24
)

// A panel is the area of the curves of one quantity.
type panel struct {
	top, bottom float64
	last        float64               // the time at the right edge, in seconds
	share       func(float64) float64 // of the height, from 0 to 1, for a value
}

func (p panel) x(at time.Duration) float64 { return left + (right-left)*at.Seconds()/p.last }
func (p panel) y(v float64) float64 {
	return p.bottom - (p.bottom-p.top)*min(max(p.share(v), 0), 1)
}

// drawFile draws the curves to a file; an empty name: none.
func drawFile(file string, r result) error {
	if file == "" {
		return nil
	}
	return os.WriteFile(file, draw(r), 0o644)
}

// draw returns the curves as an SVG file.
func draw(r result) []byte {
	most := 1.0
	for _, s := range r.spillCurve {
		most = max(most, float64(s.lane), float64(s.log))
	}
	step := niceStep(most / 4)
	most = step * math.Ceil(most/step)
	last := 1.0
	for _, curve := range [][]sample{r.pauseCurve, r.spillCurve} {
		if len(curve) > 0 {
			last = max(last, math.Ceil(curve[len(curve)-1].at.Seconds()))
		}
	}
	s := &svg{}
	latency := panel{44, 270, last, func(ms float64) float64 { return math.Log10(max(ms, 1)) / math.Log10(30_000) }}
	waiting := panel{348, 508, last, func(v float64) float64 { return v / most }}
	s.marks(r, latency, waiting)
	s.head(latency.top, "Other posts: p99 from due to handled, log scale", legend{classPause, "without a store"}, legend{classSpill, "with Divert"})
	for power, label := range []string{"1 ms", "10 ms", "100 ms", "1 s", "10 s"} {
		s.tick(latency, math.Pow10(power), label)
	}
	s.curve(classPause, points(latency, timed(r.pauseCurve), latencyOf))
	s.curve(classSpill, points(latency, timed(r.spillCurve), latencyOf))
	s.head(waiting.top, "Viral post: comments that wait, with Divert", legend{classSpill, "in its log"}, legend{classLane, "in its lane"})
	for v := 0.0; v <= most; v += step {
		s.tick(waiting, v, thousands(int(v)))
	}
	s.curve(classSpill, points(waiting, r.spillCurve, func(s sample) float64 { return float64(s.log) }))
	s.curve(classLane, points(waiting, r.spillCurve, func(s sample) float64 { return float64(s.lane) }))
	for at := 0.0; at <= last; at += 5 {
		s.text(classText, "middle", point{waiting.x(seconds(at)), waiting.bottom + 20}, fmt.Sprintf("%.0f", at))
	}
	s.text(classText, "middle", point{(left + right) / 2, waiting.bottom + 42}, "seconds since the start of the load")
	return s.document(chartWidth, chartHeight, fmt.Sprintf(
		"One post gets %d comments a second and can handle 200. p99 of the other posts: %.0f ms without it, %.0f ms beside it without a store, %.0f ms with Divert.",
		r.rates.viral, r.Quiet.P99, r.Pause.P99, r.Spill.P99))
}

// timed returns the samples of times at which comments of other posts were handled or waited.
func timed(curve []sample) []sample {
	return slices.DeleteFunc(slices.Clone(curve), func(s sample) bool { return s.p99 == 0 })
}

func latencyOf(s sample) float64 { return float64(s.p99.Microseconds()) / 1000 }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func points(p panel, curve []sample, value func(sample) float64) []point {
	all := make([]point, len(curve))
	for i, s := range curve {
		all[i] = point{p.x(s.at), p.y(value(s))}
	}
	return all
}

// marks marks the times at which something happens.
func (s *svg) marks(r result, panels ...panel) {
	first := panels[0]
	for _, p := range panels {
		s.area(classBand, point{p.x(r.kill), p.top}, point{p.x(r.freed), p.bottom})
		for _, at := range []time.Duration{goesViral, r.kill, r.release} {
			s.line(classMark, point{p.x(at), p.top}, point{p.x(at), p.bottom})
		}
	}
	y := first.bottom + 18
	s.text(classText, "middle", point{first.x(goesViral), y}, "goes viral")
	s.text(classText, "middle", point{(first.x(r.kill) + first.x(r.freed)) / 2, y}, "kill -9: session times out")
	s.text(classText, "middle", point{first.x(r.release), y}, "load ends, HandleBatch")
}

type legend struct{ class, text string }

// head writes the title of a panel above it, and its curves on the right.
func (s *svg) head(top float64, title string, curves ...legend) {
	y := top - 14
	s.text("text head", "start", point{left, y}, title)
	x := right
	for i := len(curves) - 1; i >= 0; i-- {
		c := curves[i]
		s.text(classText, "end", point{x, y}, c.text)
		x -= 6.6*float64(len(c.text)) + 8
		s.curve(c.class, []point{{x - 22, y - 4}, {x, y - 4}})
		x -= 38
	}
}

// tick writes a value of the vertical axis, and its line.
func (s *svg) tick(p panel, v float64, label string) {
	s.line(classGrid, point{left, p.y(v)}, point{right, p.y(v)})
	s.text(classText, "end", point{left - 8, p.y(v) + 4}, label)
}

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is not below v, at least 1.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
}

// thousands writes a number with a comma.
func thousands(n int) string {
	if n < 1_000 {
		return strconv.Itoa(n)
	}
	return thousands(n/1_000) + fmt.Sprintf(",%03d", n%1_000)
}
