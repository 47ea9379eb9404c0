package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// drawn returns a result with curves: without a store the others wait ever longer, with one they do not.
func drawn() result {
	r := result{kill: 12 * time.Second, freed: 18 * time.Second, release: 22 * time.Second}
	r.Quiet.P99, r.Pause.P99, r.Spill.P99 = 9, 8_300, 10
	for at := samples; at <= 27*time.Second; at += samples {
		s := sample{at: at, p99: 9 * time.Millisecond}
		if at > r.kill && at < r.freed {
			s.p99 = at - r.kill
		}
		if at > goesViral {
			s.lane = 120
			s.log = int64(1_800 * (min(at, r.release) - goesViral).Seconds())
		}
		if at > r.release+time.Second {
			s.p99 = 0
		}
		if at > r.release {
			s.log = int64(36_000 * (1 - (at-r.release).Seconds()/5))
		}
		r.spillCurve = append(r.spillCurve, s)
		if at <= evaluated {
			s.p99 = max(9*time.Millisecond, at-goesViral)
			r.pauseCurve = append(r.pauseCurve, s)
		}
	}
	return r
}

func TestDrawWritesXMLWithBothPanelsLabelled(t *testing.T) {
	file := draw(drawn())
	if path := os.Getenv("HOTPOST_SVG"); path != "" {
		_ = os.WriteFile(path, file, 0o644)
	}
	texts := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(file)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, file)
		}
		if text, ok := token.(xml.CharData); ok {
			texts[string(text)] = true
		}
	}
	for _, want := range []string{"10 ms", "10 s", "10,000", "40,000", "25", "seconds since the start of the load", "goes viral", "kill -9: session times out", "without a store", "in its log"} {
		if !texts[want] {
			t.Errorf("text %q is missing", want)
		}
	}
}

func TestDrawKeepsAllCurvesInsideThePicture(t *testing.T) {
	for name, r := range map[string]result{"a run": drawn(), "no samples": {}, "one sample": {spillCurve: []sample{{at: time.Second}}}, "an hour late": {
		pauseCurve: []sample{{at: time.Second, p99: time.Hour}}, spillCurve: []sample{{at: 2 * time.Second, log: 123_456_789}},
	}} {
		t.Run(name, func(t *testing.T) {
			file := string(draw(r))
			for part := range strings.SplitSeq(file, `points="`) {
				list, _, ok := strings.Cut(part, `"`)
				if !ok || strings.HasPrefix(part, "<svg") {
					continue
				}
				for pair := range strings.FieldsSeq(list) {
					x, y, _ := strings.Cut(pair, ",")
					if !within(x, chartWidth) || !within(y, chartHeight) {
						t.Errorf("point %s is outside", pair)
					}
				}
			}
			if strings.Contains(file, "NaN") || strings.Contains(file, "Inf") {
				t.Error("a number is not finite")
			}
		})
	}
}

func within(text string, most float64) bool {
	v, err := strconv.ParseFloat(text, 64)
	return err == nil && !math.IsNaN(v) && v >= 0 && v <= most
}

func TestNiceStepIsOneTwoOrFiveTimesAPowerOfTen(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 1, 1: 1, 3: 5, 6: 10, 10: 10, 11: 20, 4_999: 5_000, 9_000: 10_000} {
		if got := niceStep(v); got != want {
			t.Errorf("niceStep(%v) = %v, want %v", v, got, want)
		}
	}
}

func TestThousandsWritesCommas(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1_000: "1,000", 40_050: "40,050", 1_000_007: "1,000,007"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
}
