package main

import (
	"bytes"
	"fmt"
	"html"
)

// svg is a drawing. Its colors are classes, because they differ on a light and a dark screen.
type svg struct{ body bytes.Buffer }

// The classes of lines and texts.
const (
	classText  = "text"  // of axes and labels
	classGrid  = "grid"  // lines behind the curves
	classBand  = "band"  // areas behind the curves
	classMark  = "mark"  // lines that mark a time
	classPause = "pause" // the curve without a store
	classSpill = "spill" // the curves with one
	classLane  = "lane"
)

const style = `
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
.head { font-weight: 600; font-size: 14px }
.page { fill: #ffffff }
.text { fill: #1f2328 }
.grid { stroke: #d1d9e0; stroke-width: 1; fill: none }
.mark { stroke: #59636e; stroke-width: 1; stroke-dasharray: 4 3; fill: none }
.band { fill: #59636e; fill-opacity: .13 }
.curve { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
.pause { stroke: #cf222e }
.spill { stroke: #0969da }
.lane { stroke: #1a7f37 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 }
.text { fill: #e6edf3 }
.grid { stroke: #30363d }
.mark { stroke: #9198a1 }
.band { fill: #9198a1; fill-opacity: .18 }
.pause { stroke: #ff7b72 }
.spill { stroke: #58a6ff }
.lane { stroke: #3fb950 }
}
`

// A point has its origin at the top left.
type point struct{ x, y float64 }

func (s *svg) line(class string, from, to point) {
	fmt.Fprintf(&s.body, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, from.x, from.y, to.x, to.y)
}

func (s *svg) area(class string, from, to point) {
	fmt.Fprintf(&s.body, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class, from.x, from.y, to.x-from.x, to.y-from.y)
}

func (s *svg) curve(class string, points []point) {
	fmt.Fprintf(&s.body, `<polyline class="curve %s" points="`, class)
	for i, p := range points {
		if i > 0 {
			s.body.WriteByte(' ')
		}
		fmt.Fprintf(&s.body, "%.1f,%.1f", p.x, p.y)
	}
	s.body.WriteString("\"/>\n")
}

// text writes a text that has its anchor, which is start, middle or end, at a point.
func (s *svg) text(class, anchor string, at point, text string) {
	fmt.Fprintf(&s.body, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, anchor, at.x, at.y, html.EscapeString(text))
}

// document returns the drawing as a file. The title says in words what it shows.
func (s *svg) document(width, height float64, title string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", html.EscapeString(title), style)
	fmt.Fprintf(&b, `<rect class="page" width="%.0f" height="%.0f" rx="6"/>`+"\n", width, height)
	b.Write(s.body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}
