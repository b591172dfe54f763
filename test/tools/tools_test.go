package tools_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

func set() tools.Set {
	return tools.Set{
		Name:     "greet",
		Pins:     []string{"example.com/words"},
		Binaries: map[string]string{"greeter": "example.com/greet/cmd/hello/v2"},
		LDFlags: func(versions map[string]string) []string {
			return []string{"-X", "main.version=" + versions["example.com/words"]}
		},
		Takes: "a second",
	}
}

func TestInstallBuildsOnce(t *testing.T) {
	checkout(t)
	var progress strings.Builder
	dir, err := set().Install(t.Context(), &progress)
	require.NoError(t, err)
	assert.Contains(t, filepath.Base(dir), "greet-v1.2.3-go1")
	assert.Contains(t, progress.String(), "Building example.com/words v1.2.3 from source, once for this machine: a second.\n")
	out, err := exec.Command(filepath.Join(dir, "greeter")).Output()
	require.NoError(t, err)
	assert.Equal(t, "hello v1.2.3\n", string(out))

	progress.Reset()
	again, err := set().Install(t.Context(), &progress)
	require.NoError(t, err)
	assert.Equal(t, dir, again)
	assert.Empty(t, progress.String())

	require.NoError(t, os.Remove(filepath.Join(dir, "greeter")))
	_, err = set().Install(t.Context(), &progress)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "greeter"))
}

func TestInstallBuildsAnewWhatDependsOnSomethingElse(t *testing.T) {
	root := checkout(t)
	dir, err := set().Install(t.Context(), &strings.Builder{})
	require.NoError(t, err)
	dirs := []string{dir}
	for file, content := range map[string]string{
		"go.sum": "example.com/other v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"own.go": "package greet\n",
	} {
		write(t, filepath.Join(root, "test/tools/greet", file), content)
		other, err := set().Install(t.Context(), &strings.Builder{})
		require.NoError(t, err)
		assert.NotContains(t, dirs, other, file)
		dirs = append(dirs, other)
	}
	assert.DirExists(t, dir, "an older checkout still needs it")
}

func TestInstallsAtOnceBuildOnce(t *testing.T) {
	checkout(t)
	outputs := make([]strings.Builder, 8)
	var wg sync.WaitGroup
	for i := range outputs {
		wg.Go(func() {
			_, err := set().Install(t.Context(), &outputs[i])
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	var all strings.Builder
	for i := range outputs {
		all.WriteString(outputs[i].String())
	}
	assert.Equal(t, 1, strings.Count(all.String(), "Building "), all.String())
}

func TestInstallTellsWhyABuildFailsAndLeavesNothing(t *testing.T) {
	root := checkout(t)
	write(t, filepath.Join(root, "test/tools/greet/cmd/hello/v2/main.go"), "package main\n\nfunc main() { nonsense() }\n")
	_, err := set().Install(t.Context(), &strings.Builder{})
	require.ErrorContains(t, err, "undefined: nonsense")
	cache, err := tools.CacheDir()
	require.NoError(t, err)
	entries, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "greet.lock", entries[0].Name())
}

func TestRepoRootIsOfTheProduct(t *testing.T) {
	root := checkout(t)
	t.Chdir(filepath.Join(root, "test/tools/greet"))
	got, err := tools.RepoRoot()
	require.NoError(t, err)
	assert.Equal(t, root, got)
	t.Chdir(t.TempDir())
	_, err = tools.RepoRoot()
	assert.ErrorContains(t, err, "is not inside a checkout of "+tools.RootModule)
}

const program = `package main

import (
	"fmt"

	"example.com/words"
)

var version string

func main() { fmt.Println(words.Hello, version) }
`

// checkout makes a repository with one small tool module and an empty cache, and goes there.
func checkout(t *testing.T) (root string) {
	t.Helper()
	goCache, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(goCache)))
	// One of them decides, by the operating system.
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())

	root, err = filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for path, content := range map[string]string{
		"go.mod":                                "module " + tools.RootModule + "\n",
		"test/tools/greet/go.mod":               "module example.com/greet\n\ngo 1.26\n\nrequire example.com/words v1.2.3\n\nreplace example.com/words => ./words\n",
		"test/tools/greet/go.sum":               "",
		"test/tools/greet/words/go.mod":         "module example.com/words\n",
		"test/tools/greet/words/w.go":           "package words\n\nconst Hello = \"hello\"\n",
		"test/tools/greet/cmd/hello/v2/main.go": program,
	} {
		write(t, filepath.Join(root, path), content)
	}
	t.Chdir(root)
	return root
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}
