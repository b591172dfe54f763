package manifest

import "sigs.k8s.io/yaml"

// Stored returns an empty set, for AddStored.
func Stored() *Set { return &Set{byKey: map[Key]*Document{}} }

// AddStored adds an object of the given version and kind as the API server holds it, without
// managedFields.
// It stands in no file: its Place is "".
func (s *Set) AddStored(apiVersion, kind string, raw []byte) error {
	d := &Document{Source: newSource("", chunk{}, "", 1, raw, false), APIVersion: apiVersion, Kind: kind, json: raw}
	var err error
	if d.Object, err = decode(d, ""); err != nil {
		return err
	}
	d.Source.documents = []*Document{d}
	return s.putStored(d)
}

// Readable returns the document with lines: those of its file, and of a stored object
// those that kubectl prints of it as YAML. It is nil where kubectl cannot do that either, for
// characters that YAML does not take.
func (d *Document) Readable() *Document {
	if d.Source.File == "" && d.Source.Text == "" {
		text, err := yaml.JSONToYAML(d.json)
		if err != nil {
			return nil
		}
		d.Source.Text = string(text)
	}
	return d
}

func (s *Set) putStored(d *Document) error {
	s.Sources = append(s.Sources, d.Source)
	return s.put(d)
}

// SplitStored divides a set of stored objects into those of a namespace and all others.
func (s *Set) SplitStored(namespace string) (within, others *Set) {
	within, others = Stored(), Stored()
	for _, d := range s.Documents {
		to := others
		if d.Object.GetNamespace() == namespace {
			to = within
		}
		_ = to.putStored(d) // Each is there once already.
	}
	return within, others
}
