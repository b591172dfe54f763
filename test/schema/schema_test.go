// Package schema holds nothing but tests against JSON schemas: the policy's, and SARIF's.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

const head = "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\n"

// The schema takes what the server takes, and refuses what the server refuses, as far as data alone tell.
func TestSchemaAgreesWithLoad(t *testing.T) {
	var cases []struct {
		Name, Policy, Want string
		File               *string
		BeyondSchema       bool `yaml:"beyondSchema"`
	}
	data, err := os.ReadFile("../../internal/policy/testdata/cases.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &cases))
	require.NotEmpty(t, cases)

	file, err := jsonschema.NewCompiler().Compile("../../docs/policy.schema.json")
	require.NoError(t, err)
	// This one names no draft, and the library, which is Helm's, takes the newest.
	written, err := json.Marshal(policy.ValuesSchema())
	require.NoError(t, err)
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(written))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("values.json", decoded))
	values, err := compiler.Compile("values.json")
	require.NoError(t, err)

	for _, c := range cases {
		if c.BeyondSchema {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.File != nil {
				agrees(t, file, *c.File, c.Want)
				return
			}
			agrees(t, file, head+c.Policy, c.Want)
			if c.Policy != "" {
				agrees(t, values, c.Policy, c.Want)
			}
		})
	}
	// What Helm makes of an off without quotes, the chart makes off again.
	agrees(t, values, "mode: false", "")
}

// agrees holds that the schema refuses the fields that a refusal of Load names, and no others.
func agrees(t *testing.T, schema *jsonschema.Schema, text, refusal string) {
	t.Helper()
	var data any
	require.NoError(t, yaml.Unmarshal([]byte(text), &data))
	var want, got []string
	for line := range strings.Lines(refusal) {
		want = append(want, regexp.MustCompile(`^FILE:\d+: (?:(\S+): )?`).FindStringSubmatch(line)[1])
	}
	err := schema.Validate(data)
	if refused := (*jsonschema.ValidationError)(nil); errors.As(err, &refused) {
		got = fields(refused)
	} else {
		require.NoError(t, err)
	}
	assert.ElementsMatch(t, want, got)
}

// fields returns the paths of all fields that are refused.
func fields(refused *jsonschema.ValidationError) []string {
	var out []string
	for _, cause := range refused.Causes {
		out = append(out, fields(cause)...)
	}
	switch problem := refused.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range problem.Properties {
			out = append(out, path(append(slices.Clone(refused.InstanceLocation), name)))
		}
	case *kind.Required:
		for _, name := range problem.Missing {
			out = append(out, path(append(slices.Clone(refused.InstanceLocation), name)))
		}
	case *kind.Type, *kind.Enum, *kind.Pattern:
		out = append(out, path(refused.InstanceLocation))
	}
	return out
}

func path(location []string) string {
	var out string
	for _, step := range location {
		switch {
		case regexp.MustCompile(`^\d+$`).MatchString(step):
			out += "[" + step + "]"
		case !regexp.MustCompile(`^\w+$`).MatchString(step):
			out += fmt.Sprintf("[%q]", step)
		case out == "":
			out = step
		default:
			out += "." + step
		}
	}
	return out
}
