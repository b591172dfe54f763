package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read. The API server takes at most 3 MiB a request, so a
// file near the bound is no manifest.
const (
	MaxFile  = 64 << 20  // bytes of one file or stdin
	MaxTotal = 512 << 20 // bytes of all files
	MaxFiles = 100_000
)

// Stdin is the path that stands for standard input, StdinName how messages name it.
const (
	Stdin     = "-"
	StdinName = "stdin"
)

var errTooMany = fmt.Errorf("more than %d files", MaxFiles)

// expand replaces directories with the files below them. Errors join; the files
// that were found are returned with them.
func expand(paths []string) ([]string, error) {
	var files []string
	var errs []error
	seen := map[string]struct{}{}
	add := func(f string) {
		id := f
		if f != Stdin {
			id = filepath.Clean(f)
			if abs, err := filepath.Abs(f); err == nil {
				id = abs
			}
		}
		if _, dup := seen[id]; !dup {
			seen[id] = struct{}{}
			files = append(files, f)
		}
	}
	for _, p := range paths {
		if p == Stdin {
			add(p)
			continue
		}
		info, err := os.Stat(p)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("failed to read %s: %w", quoted(p), plain(err)))
		case info.IsDir():
			below, err := walk(p)
			if err != nil {
				errs = append(errs, fmt.Errorf("failed to read directory %s: %w", p, plain(err)))
			}
			for _, f := range below {
				add(f)
			}
		default:
			add(p)
		}
	}
	return files, errors.Join(errs...)
}

// walk returns the manifests below dir, sorted. It follows no link to a directory
// and enters no hidden one: .git and .github hold no manifests, and a mounted
// ConfigMap keeps its files a second time in one.
func walk(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != dir && strings.HasPrefix(entry.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				return nil
			}
		}
		if len(out) == MaxFiles {
			return errTooMany
		}
		out = append(out, path)
		return nil
	})
	slices.Sort(out)
	return out, err
}

// read returns the content of a file or stdin, at most MaxFile and room bytes.
func read(file string, stdin io.Reader, room int64) ([]byte, error) {
	in := stdin
	if file != Stdin {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("failed to read %s: %w", quoted(file), plain(err))
		}
		defer func() { _ = f.Close() }() // It was only read.
		in = f
	} else if in == nil {
		in = strings.NewReader("")
	}
	limit := min(room, MaxFile)
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to read %s: %w", display(file), plain(err))
	case int64(len(data)) > limit && limit < MaxFile:
		return nil, fmt.Errorf("failed to read %s: all input is more than %d MiB", display(file), MaxTotal>>20)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("failed to read %s: it is larger than %d MiB", display(file), MaxFile>>20)
	case bytes.HasPrefix(data, []byte("\xFF\xFE")), bytes.HasPrefix(data, []byte("\xFE\xFF")):
		// Such as what ">" of an old PowerShell writes. Its lines could not be told apart.
		return nil, fmt.Errorf("failed to read %s: it is UTF-16: convert it to UTF-8", display(file))
	}
	return data, nil
}

// plain drops the operation and path that our own message says already.
func plain(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

func quoted(path string) string {
	if path == "" || strings.ContainsAny(path, " \n\t") {
		return fmt.Sprintf("%q", path)
	}
	return path
}

// display is how messages name a file.
func display(file string) string {
	if file == Stdin {
		return StdinName
	}
	return file
}
