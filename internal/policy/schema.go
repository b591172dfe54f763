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
	all := fields()
	out := objectSchema(properties(all, defaults()))
	out["required"] = required(all)
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = Kind
	return out
}

// ValuesSchema is that of the chart's value policy, which has neither apiVersion nor
// kind. Helm reads YAML 1.1: a mode of off without quotes is false, and the chart
// makes it off again.
func ValuesSchema() map[string]any {
	all := fields()
	values := properties(all[len(required(all)):], defaults())
	var mode []any
	for _, m := range modes() {
		mode = append(mode, m)
	}
	delete(values["mode"], "type")
	values["mode"]["enum"] = append(mode, false)
	return objectSchema(values)
}

func objectSchema(properties map[string]map[string]any) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func properties(fields []field, defaults map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, f := range fields {
		out[f.name] = f.schema(defaults[f.name])
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
		return objectSchema(properties(f.fields, defaults))
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
