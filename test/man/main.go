// Command man writes a man page of each command of egress-tls into a directory.
//
//	go run ./man -version v1.2.3 -date 1751241600 ../bin/man
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
)

func main() {
	version := flag.String("version", "dev", "version that the pages name")
	date := flag.Int64("date", 0, "date that the pages name, in seconds since 1970")
	flag.Parse()
	root := cli.Command(*version)
	root.DisableAutoGenTag = true
	if err := write(flag.Arg(0), root, *version, time.Unix(*date, 0).UTC()); err != nil {
		fmt.Fprintf(os.Stderr, "man: %v\n", err)
		os.Exit(1)
	}
}

// write writes the pages of a command and of those below it.
func write(dir string, cmd *cobra.Command, version string, date time.Time) error {
	page, err := render(cmd, version, date)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name(cmd)+".1"), page, 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		// The help of a shell's script is for who installs it.
		if c.IsAvailableCommand() && cmd.Name() != "completion" {
			if err := write(dir, c, version, date); err != nil {
				return err
			}
		}
	}
	return nil
}

func name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func render(cmd *cobra.Command, version string, date time.Time) ([]byte, error) {
	var out bytes.Buffer
	header := &doc.GenManHeader{Title: strings.ToUpper(name(cmd)), Section: "1", Date: &date, Source: "egress-tls " + version, Manual: "egress-tls-webhook"}
	if err := doc.GenMan(cmd, header, &out); err != nil {
		return nil, fmt.Errorf("failed to write the page of %s: %w", cmd.CommandPath(), err)
	}
	return out.Bytes(), nil
}
