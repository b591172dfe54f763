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

var update = flag.Bool("update", false, "rewrite what is generated from the fields")

const (
	schemaFile = "../../docs/policy.schema.json"
	valuesFile = "../../deploy/chart/values.schema.json"
	docsFile   = "../../docs/policy.md"
	// What stands before and behind the table.
	tableStart = "<!-- fields: written by make generate -->\n"
	tableEnd   = "<!-- end of fields -->\n"
)

func TestGeneratedSchema(t *testing.T) {
	generated(t, schemaFile, toJSON(t, policy.Schema(), "")+"\n")
}

// The chart's schema has that of the policy as the property policy, at an indent of 4.
func TestGeneratedSchemaOfTheValues(t *testing.T) {
	values := read(t, valuesFile)
	place := regexp.MustCompile(`(?m)^    "policy": \{\n(?: {6}.*\n)*    \}`).FindStringIndex(values)
	require.NotNil(t, place)
	generated(t, valuesFile, values[:place[0]]+`    "policy": `+toJSON(t, policy.ValuesSchema(), "    ")+values[place[1]:])
}

func toJSON(t *testing.T, value any, prefix string) string {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	require.NoError(t, enc.Encode(value))
	return strings.TrimSuffix(out.String(), "\n")
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
	for name, property := range schema["properties"].(map[string]map[string]any) {
		out[name] = nil
		if property["type"] == "object" {
			out[name] = propertiesOf(property)
		}
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}
