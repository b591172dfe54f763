package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// commandTimeout bounds one command of the story.
const commandTimeout = time.Minute

// player runs commands as a user would in a terminal, and shows them.
type player struct {
	out io.Writer
	// dir is the working directory: the manifests are in it.
	dir string
	// path are the directories of kubectl and egress-tls, as PATH has them.
	path, kubeconfig string
	env              []string

	chapters, commands, checks int
	failures                   []string
}

func newPlayer(out io.Writer, dir string, cp *controlplane.ControlPlane, cliDir string) *player {
	p := &player{out: out, dir: dir, path: filepath.Dir(cp.KubectlPath) + string(os.PathListSeparator) + cliDir, kubeconfig: cp.Kubeconfig}
	p.env = append(os.Environ(),
		"PATH="+p.path+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+cp.Kubeconfig,
		// The user's own kubectl settings and cache, and the language of diff, are not the demo's.
		"KUBERC=off", "KUBECACHEDIR="+filepath.Join(dir, ".kube-cache"), "LC_ALL=C",
	)
	return p
}

// chapter starts a part of the transcript.
func (p *player) chapter(title string, lines ...string) {
	p.chapters++
	fmt.Fprintf(p.out, "\n# %d. %s\n", p.chapters, title)
	for _, line := range lines {
		fmt.Fprintf(p.out, "# %s\n", line)
	}
}

// result is how a command ended.
type result struct {
	p       *player
	command string
	// output is what a terminal shows: standard output and standard error.
	output string
	exit   int
}

// run shows a shell command, runs it and shows its output.
func (p *player) run(ctx context.Context, command string) result {
	if ctx.Err() != nil {
		return result{p: p, command: command, exit: -1}
	}
	p.commands++
	fmt.Fprintf(p.out, "\n$ %s\n", command)
	r := p.quietly(ctx, command)
	fmt.Fprint(p.out, r.output)
	if r.output != "" && !strings.HasSuffix(r.output, "\n") {
		fmt.Fprintln(p.out)
	}
	return r
}

// quietly runs a shell command and does not show it.
func (p *player) quietly(ctx context.Context, command string) result {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir, cmd.Env = p.dir, p.env
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// A process group of its own, so that Ctrl-C comes to this process alone, and a timeout to all
	// of a pipe.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	r := result{p: p, command: command}
	if err := cmd.Run(); err != nil {
		r.exit = -1
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			r.exit = exit.ExitCode()
		}
		if r.exit < 0 {
			fmt.Fprintln(&output, err)
		}
	}
	r.output = output.String()
	return r
}

// fail notes a failed expectation and shows it where it happened.
func (p *player) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.failures = append(p.failures, text)
	fmt.Fprintf(p.out, "\nFAILED: %s\n", text)
}

// err says which expectations failed, if any.
func (p *player) err() error {
	if len(p.failures) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d expectations failed:\n- %s", len(p.failures), p.checks, strings.Join(p.failures, "\n- "))
}

// check holds what was expected, unless the demo was interrupted.
func (p *player) check(ctx context.Context, ok bool, format string, args ...any) {
	if ctx.Err() != nil {
		return
	}
	p.checks++
	if !ok {
		p.fail(format, args...)
	}
}

// prints expects exit code 0 and exactly these lines.
func (r result) prints(ctx context.Context, lines ...string) {
	want := strings.Join(lines, "\n")
	if want != "" {
		want += "\n"
	}
	r.exits(ctx, 0)
	r.p.check(ctx, r.output == want, "%s\n  should print:\n%s\n  printed:\n%s", r.command, indented(want), indented(r.output))
}

// exits expects an exit code.
func (r result) exits(ctx context.Context, code int) result {
	r.p.check(ctx, r.exit == code, "%s\n  should exit with %d, exited with %d", r.command, code, r.exit)
	return r
}

// says expects each text in the output.
func (r result) says(ctx context.Context, texts ...string) {
	for _, text := range texts {
		r.p.check(ctx, strings.Contains(r.output, text), "%s\n  should say:\n%s\n  said:\n%s", r.command, indented(text), indented(r.output))
	}
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ")
}

// object reads an object as it is stored.
func (p *player) object(ctx context.Context, kind, namespace, name string) map[string]any {
	r := p.quietly(ctx, fmt.Sprintf("kubectl get %s -n %s %s -o json", kind, namespace, name))
	var object map[string]any
	err := json.Unmarshal([]byte(r.output), &object)
	p.check(ctx, r.exit == 0 && err == nil, "%s %s/%s should be stored: %s", kind, namespace, name, r.output)
	return object
}
