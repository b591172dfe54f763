package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// regenerate is the command that brings README.md in line.
const regenerate = "make generate"

// A marker in README.md says what of the transcript stands between it and the end marker: the
// chapters of the given numbers, or all of it.
//
//	<!-- demo: 2 5 -->
//	<!-- end of demo -->
var markers = regexp.MustCompile(`(?s)(<!-- demo: ([a-z0-9 ]+) -->\n).*?(<!-- end of demo -->)`)

// chapters finds where the chapters of a transcript begin.
var chapters = regexp.MustCompile(`(?m)^# ([0-9]+)\. `)

// updated returns the document with the transcript between its markers.
func updated(document, transcript string) (string, error) {
	found := markers.FindAllStringSubmatchIndex(document, -1)
	if len(found) == 0 {
		return "", fmt.Errorf("there is no marker <!-- demo: all --> ... <!-- end of demo -->")
	}
	var out strings.Builder
	end := 0
	for _, m := range found {
		text, err := excerpt(transcript, document[m[4]:m[5]])
		if err != nil {
			return "", err
		}
		out.WriteString(document[end:m[3]])
		out.WriteString("```console\n" + text + "```\n")
		end = m[6]
	}
	return out.String() + document[end:], nil
}

// excerpt returns the chapters that a marker names.
func excerpt(transcript, what string) (string, error) {
	if what == "all" {
		return transcript, nil
	}
	starts := chapters.FindAllStringSubmatchIndex(transcript, -1)
	var texts []string
	for number := range strings.FieldsSeq(what) {
		for i, m := range starts {
			end := len(transcript)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			if transcript[m[2]:m[3]] == number {
				texts = append(texts, strings.TrimRight(transcript[m[0]:end], "\n")+"\n")
			}
		}
		if n, err := strconv.Atoi(number); err != nil || n < 1 || n > len(starts) {
			return "", fmt.Errorf("the transcript has no chapter %q", number)
		}
	}
	return strings.Join(texts, "\n"), nil
}

// updateReadme writes the transcript into README.md.
func updateReadme(root, transcript string) error {
	path := filepath.Join(root, "README.md")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := updated(string(data), transcript)
	if err != nil {
		return fmt.Errorf("failed to update %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
