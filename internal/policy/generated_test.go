package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

var update = flag.Bool("update", false, "rewrite what is generated from the fields, in docs")

const (
	schemaFile = "../../docs/policy.schema.json"
	docsFile   = "../../docs/policy.md"
	// What stands before and behind the table.
	tableStart = "<!-- fields: written by make generate -->\n"
	tableEnd   = "<!-- end of fields -->\n"
)

func TestGeneratedSchema(t *testing.T) {
	var schema bytes.Buffer
	enc := json.NewEncoder(&schema)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(policy.Schema()))
	generated(t, schemaFile, schema.String())
}

func TestGeneratedTable(t *testing.T) {
	docs := read(t, docsFile)
	before, rest, ok := strings.Cut(docs, tableStart)
	require.True(t, ok, "%s lacks %s", docsFile, tableStart)
	_, behind, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "%s lacks %s", docsFile, tableEnd)
	generated(t, docsFile, before+tableStart+policy.Table()+tableEnd+behind)
}

// generated holds that a file has the given content, or with -update writes it.
func generated(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	assert.Equal(t, want, read(t, file), "run make generate")
}

// The documentation shows the defaults.
func TestDocumentedDefaults(t *testing.T) {
	example := regexp.MustCompile("(?s)```yaml\n(apiVersion: .*?)```").FindStringSubmatch(read(t, docsFile))
	require.NotNil(t, example)
	got, err := policy.Load(docsFile, []byte(example[1]))
	require.NoError(t, err)
	want := policy.Default()
	want.Exemptions.Usernames, want.Exemptions.Hosts, want.GatewayNamespaces = []string{}, []string{}, []string{}
	assert.Equal(t, want, got)
}

// The documentation shows what a file of seven lines is told.
func TestDocumentedMistakes(t *testing.T) {
	_, err := policy.Load("policy.yaml", []byte(head+"mode: Enforce\nexemptions:\n  hosts: [https://api.example.com]\ntls:\n  sni: x\n"))
	require.Error(t, err)
	assert.Contains(t, read(t, docsFile), "\n```\n"+err.Error()+"\n```\n")
}

// Each field of the type is one of the file, and the other way round.
func TestFieldsAreThoseOfTheType(t *testing.T) {
	assert.Equal(t, fieldsOf(reflect.TypeFor[policy.Policy]()), propertiesOf(policy.Schema()))
}

// fieldsOf returns the fields of a struct by their names in JSON: nil, or the fields of a struct in turn.
func fieldsOf(typ reflect.Type) map[string]any {
	out := map[string]any{}
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		out[name] = nil
		if field.Type.Kind() == reflect.Struct {
			out[name] = fieldsOf(field.Type)
		}
	}
	return out
}

func propertiesOf(schema map[string]any) map[string]any {
	out := map[string]any{}
	for name, property := range schema["properties"].(map[string]any) {
		out[name] = nil
		if property := property.(map[string]any); property["type"] == "object" {
			out[name] = propertiesOf(property)
		}
	}
	return out
}

// The chart's value policy has neither apiVersion nor kind, which the chart writes itself.
func TestValuesSchema(t *testing.T) {
	want := policy.Schema()
	delete(want["properties"].(map[string]any), "apiVersion")
	delete(want["properties"].(map[string]any), "kind")
	delete(want, "required")
	delete(want, "$schema")
	delete(want, "title")
	assert.Equal(t, want, policy.ValuesSchema())
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}
