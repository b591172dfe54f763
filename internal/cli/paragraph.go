package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// paragraph prints findings that have one cause.
type paragraph struct {
	w      io.Writer
	style  style
	in     *input
	frames frames
}

func newParagraph(w io.Writer, st style, in *input) *paragraph {
	return &paragraph{w: w, style: st, in: in, frames: frames{style: st, gutter: 2}}
}

// most bounds what is enumerated of one kind.
const most = 4

// write prints group. ordered holds the objects whose working order is printed already.
func (t *paragraph) write(group []finding.Finding, ordered map[finding.Object]bool) {
	f := group[0]
	title := f.Code.Title()
	if len(group) > 1 {
		title += fmt.Sprintf(" (%d places)", len(group))
	}
	fmt.Fprintln(t.w, t.style.severity(f.Severity, string(f.Severity)+"["+string(f.Code)+"]")+t.style.bold(": "+title))

	for _, f := range group {
		t.mark(f)
	}
	where := f.Object.String()
	if paths := each(group, func(f finding.Finding) string { return f.Path }); len(paths) > 0 {
		where += ", " + enumerate(paths, most)
	}
	if place := t.in.place(f); place != "" {
		where = place + ": " + where
	}
	fmt.Fprintf(t.w, "%*s%s %s\n", t.frames.gutter, "", t.style.blue("-->"), finding.Printable(where))
	if len(t.frames.marks) > 0 {
		t.frames.write(t.w)
	}

	for _, text := range whatIsWrong(group) {
		if r, n := utf8.DecodeRuneInString(text); !strings.HasPrefix(text, "spec.") {
			text = string(unicode.ToUpper(r)) + text[n:]
		}
		t.say("", text)
	}
	examples := each(group, func(f finding.Finding) string { return exampleText(f.Example) })
	for _, text := range examples[:min(most, len(examples))] {
		t.say("example: ", text)
	}
	var notes []string
	for _, f := range group {
		for _, note := range f.Notes {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	for _, text := range notes {
		t.say("note: ", text)
	}
	t.fix(group, ordered)
}

// mark marks what a finding is about, and what else has a part in it.
func (t *paragraph) mark(f finding.Finding) {
	const enough = 2 * most
	doc := t.in.readable(f.Object)
	if doc == nil || len(t.frames.marks) > enough {
		return
	}
	for _, path := range f.CoveredBy[:min(most, len(f.CoveredBy))] {
		t.frames.add(newMark(doc, path, path+": "+coverText(f), "-", t.style.blue))
	}
	path, text := f.Path, f.Path+": "+markText(f.Code)
	switch {
	case path == "":
		path, text = "metadata.name", markText(f.Code)
	case strings.Count(path, "[") == 1 && isDead(f.Code):
		path += ".match"
	}
	t.frames.add(newMark(doc, path, text, "^", func(text string) string { return t.style.severity(f.Severity, text) }))
	for _, p := range f.Related {
		of := t.in.readable(p.Object)
		if of == nil {
			continue
		}
		text := p.Path + ": " + p.Text
		if of.Source.File == doc.Source.File {
			text = p.Object.String() + ": " + p.Text
		}
		t.frames.add(newMark(of, p.Path, text, "-", t.style.blue))
	}
}

// coverText says of a covering match what it does.
func coverText(f finding.Finding) string {
	switch {
	case f.Code == finding.CatchAllNotLast:
		return "takes every request"
	case f.Example == nil:
		return "takes these requests too"
	}
	return "takes these requests first"
}

// isDead reports whether the finding is that a whole route is dead: its matches say why.
func isDead(code finding.Code) bool {
	return code == finding.CatchAllNotLast || code == finding.UnreachableRoute || code == finding.ShadowedByVirtualService
}

// markText says of the marked field what the finding is.
func markText(code finding.Code) string {
	switch code {
	case finding.CatchAllNotLast, finding.UnreachableRoute, finding.ShadowedByVirtualService:
		return "no request gets here"
	case finding.IneffectiveMatch:
		return "has no effect"
	case finding.TLSDisabled:
		return "TLS is off"
	case finding.TLSMissing:
		return "leaves the mesh in clear"
	case finding.HeadersMissing:
		return "headers are missing"
	case finding.MutualToExternal:
		return "only the mesh knows these certificates"
	case finding.NoExactServiceEntry:
		return "the proxies do not know this host"
	case finding.HostHeaderMismatch:
		return "the Host that is sent is another"
	case finding.DoubleTLS:
		return "some clients speak TLS themselves"
	case finding.WaitsForRoute:
		return "gets no TLS yet"
	case finding.CredentialIgnored:
		return "sidecars ignore this"
	case finding.InvalidAnnotation:
		return "cannot be read"
	}
	return ""
}

// whatIsWrong is said once for routes that are dead for one reason.
func whatIsWrong(group []finding.Finding) []string {
	f := group[0]
	if f.Summary == "" || len(f.CoveredBy) == 0 || f.Order == nil {
		return each(group, func(f finding.Finding) string {
			if f.Summary != "" {
				return f.Summary
			}
			return f.Message
		})
	}
	text := f.Summary
	if len(group) > 1 {
		text += " The same goes for " + enumerate(each(group[1:], func(f finding.Finding) string { return f.Path }), most) + "."
	}
	return []string{text}
}

func exampleText(e *finding.Example) string {
	if e == nil {
		return ""
	}
	if e.InsteadOf == "" {
		return e.Request + " goes to " + e.GoesTo + " by " + e.By
	}
	return e.Request + " goes to " + e.GoesTo + " instead of " + e.InsteadOf
}

// fix says what to do: an order of routes as a list, all else in the words of the remedy.
// ordered holds the objects whose order is printed already.
func (t *paragraph) fix(group []finding.Finding, ordered map[finding.Object]bool) {
	const readable = 12
	f := group[0]
	routes := t.in.routes(f)
	switch {
	case f.Order == nil || len(f.Order) != len(routes) || len(routes) > readable:
		for _, text := range each(group, func(f finding.Finding) string { return f.Remedy }) {
			t.say("fix: ", text)
			if strings.Contains(text, "egress-tls render") {
				t.render("run: ")
			}
		}
	case ordered[f.Object]:
		t.say("fix: ", "the order above helps here too.")
		return
	default:
		t.say("fix: ", "put the routes into the order that works:")
		for _, i := range f.Order {
			t.indented(fmt.Sprintf("spec.http[%d] (%s)", i, validate.RouteText(routes[i])))
		}
	}
	if f.Order != nil {
		ordered[f.Object] = true
		t.render("or run: ", "--fix-order")
	}
}

// render prints the command that mends the input, for a shell and so on one line.
func (t *paragraph) render(what string, flags ...string) {
	if line := t.in.renderCommand(flags...); line != "" {
		fmt.Fprintf(t.w, "%*s %s %s%s\n", t.frames.gutter, "", t.style.blue("="), t.style.bold(what), finding.Printable(line))
	}
}

// say prints text below the fragments, wrapped, behind a word that tells what it is.
func (t *paragraph) say(what, text string) {
	margin := strings.Repeat(" ", t.frames.gutter+len(" = "))
	for i, line := range t.style.wrap(what+text, len(margin)) {
		if i == 0 {
			line = t.style.bold(what) + strings.TrimPrefix(line, what)
			fmt.Fprintf(t.w, "%*s %s %s\n", t.frames.gutter, "", t.style.blue("="), line)
			continue
		}
		fmt.Fprintln(t.w, margin+line)
	}
}

// indented prints text below what was said.
func (t *paragraph) indented(text string) {
	margin := strings.Repeat(" ", t.frames.gutter+len(" = fix: "))
	for _, line := range t.style.wrap(text, len(margin)) {
		fmt.Fprintln(t.w, margin+line)
	}
}

// routes returns the HTTP routes of the VirtualService that a finding is about.
func (in *input) routes(f finding.Finding) []*networking.HTTPRoute {
	d := in.about(f.Object)
	if d == nil {
		return nil
	}
	vs, ok := d.Object.(*networkingv1.VirtualService)
	if !ok {
		return nil
	}
	return vs.Spec.Http
}
