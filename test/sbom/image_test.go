package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// What .dockerignore lets through to the build of the image is all that the binaries need.
func TestImageIsBuiltFromWhatItCopies(t *testing.T) {
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	ignore, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	require.NoError(t, err)
	let := regexp.MustCompile(`(?m)^!(.+)$`).FindAllStringSubmatch(string(ignore), -1)
	require.NotEmpty(t, let)
	assert.Contains(t, string(ignore), "\n**/*_test.go\n**/testdata\n", "what this test leaves out")

	dir := t.TempDir()
	for _, name := range let {
		err := filepath.WalkDir(filepath.Join(root, name[1]), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.Name() == "testdata":
				return filepath.SkipDir
			case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			to := filepath.Join(dir, strings.TrimPrefix(path, root))
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			return os.WriteFile(to, data, 0o600)
		})
		require.NoError(t, err, "%s, which .dockerignore lets through", name[1])
	}
	// It fails for a package or an embedded file that is missing, and does not compile.
	goes(t, dir, "list", "-deps", "./cmd/...")

	dockerfile, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	binaries, err := filepath.Glob(filepath.Join(root, "cmd", "*"))
	require.NoError(t, err)
	for _, binary := range binaries {
		assert.Regexp(t, `(?m)^COPY --from=build .*/out/`+filepath.Base(binary)+` .*/$`, string(dockerfile))
	}
	assert.Contains(t, string(dockerfile), "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n", "TLS to a collector of traces")
	for _, label := range []string{"title", "description", "source", "licenses", "created", "version", "revision"} {
		assert.Regexp(t, `org\.opencontainers\.image\.`+label+`="[^"]+"`, string(dockerfile))
	}
}
