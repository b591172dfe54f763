package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Schema returns the JSON schema of the file, draft 7. It takes what Load takes, but
// for fields that contradict each other.
func Schema() map[string]any {
	out := objectSchema(fields(), defaults())
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = Kind
	return out
}

// ValuesSchema is Schema without apiVersion and kind: that of the chart's value
// policy.
func ValuesSchema() map[string]any {
	all := fields()
	return objectSchema(all[len(required(all)):], defaults())
}

func objectSchema(fields []field, defaults map[string]any) map[string]any {
	properties := map[string]any{}
	for _, f := range fields {
		properties[f.name] = f.schema(defaults[f.name])
	}
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if names := required(fields); names != nil {
		out["required"] = names
	}
	return out
}

// required returns the names of the required fields, which come first.
func required(fields []field) []string {
	var out []string
	for _, f := range fields {
		if f.required {
			out = append(out, f.name)
		}
	}
	return out
}

func (f field) schema(byDefault any) map[string]any {
	if f.fields != nil {
		defaults, _ := byDefault.(map[string]any)
		return objectSchema(f.fields, defaults)
	}
	out := map[string]any{"type": "string"}
	if f.words != nil {
		out["enum"] = texts(f.words)
	} else {
		out["pattern"] = f.text.pattern
	}
	if f.list {
		out = map[string]any{"type": "array", "items": out}
	}
	if byDefault != nil {
		out["default"] = byDefault
	}
	if text := f.description(); text != "" {
		out["description"] = text
	}
	return out
}

// description is the meaning without Markdown.
func (f field) description() string {
	lines := []string{f.meaning}
	if f.meaning == "" {
		lines = nil
	}
	for _, w := range f.words {
		if w.meaning != "" {
			lines = append(lines, w.text+": "+w.meaning)
		}
	}
	text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(strings.Join(lines, "\n"), "$1")
	return strings.ReplaceAll(text, "`", "")
}

func defaults() map[string]any {
	var out map[string]any
	raw, err := json.Marshal(Default())
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		panic(err) // A struct of strings.
	}
	return out
}

// Table returns the table of all fields for the documentation, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| field | values | meaning |\n|---|---|---|\n")
	writeRows(&b, "", fields())
	return b.String()
}

func writeRows(b *strings.Builder, prefix string, fields []field) {
	for _, f := range fields {
		name := "`" + prefix + f.name + "`"
		switch {
		case f.fields != nil:
			writeRows(b, prefix+f.name+".", f.fields)
		case f.text != nil && f.list:
			writeRow(b, name, f.text.many, f.meaning)
		case f.text != nil:
			writeRow(b, name, f.text.one, f.meaning)
		case f.meaning != "":
			writeRow(b, name, "`"+strings.Join(texts(f.words), "`, `")+"`", f.meaning)
		default:
			for _, w := range f.words {
				writeRow(b, name, "`"+w.text+"`", w.meaning)
				name = "" // As in the row above.
			}
		}
	}
}

func writeRow(b *strings.Builder, name, values, meaning string) {
	if name != "" {
		name += " "
	}
	fmt.Fprintf(b, "| %s| %s | %s |\n", name, values, meaning)
}
