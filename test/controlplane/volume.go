package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// Project makes files the content of a directory as the kubelet does for a mounted Secret: all at
// once, by swapping the symbolic link ..data, through which each file is reached. It writes nothing
// if they are there already.
func Project(dir string, files map[string][]byte) error {
	current := filepath.Join(dir, "..data")
	if projected, err := read(current); err == nil && maps.EqualFunc(projected, files, bytes.Equal) {
		return nil
	}
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		return fmt.Errorf("failed to project files: %w", err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(version, name), data, 0o600); err != nil {
			return fmt.Errorf("failed to project files: %w", err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("failed to project files: %w", err)
		}
	}
	previous, _ := os.Readlink(current)
	next := filepath.Join(dir, "..data_next")
	if err := errors.Join(os.Symlink(filepath.Base(version), next), os.Rename(next, current)); err != nil {
		return fmt.Errorf("failed to project files: %w", err)
	}
	if previous != "" {
		return os.RemoveAll(filepath.Join(dir, previous))
	}
	return nil
}

// read returns the files of a directory.
func read(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}
