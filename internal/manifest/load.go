package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultNamespace is the namespace of objects that name none.
const DefaultNamespace = "default"

// Options say what paths do not.
type Options struct {
	// Namespace is that of objects that name none; "" is DefaultNamespace.
	Namespace string
	// Stdin is what the path "-" reads.
	Stdin io.Reader
}

// Set is what was read, in the order of the paths.
type Set struct {
	Files     []*File
	Sources   []*Source   // of all Files
	Documents []*Document // of all Sources

	byKey map[Key]*Document
}

// Key identifies an object of a known kind.
type Key struct{ Kind, Namespace, Name string }

// KeyOf returns the key of an object of the given kind.
func KeyOf(kind string, o metav1.Object) Key {
	return Key{kind, o.GetNamespace(), cmp.Or(o.GetName(), o.GetGenerateName())}
}

// Find returns the document of a known kind with the given key, or nil.
func (s *Set) Find(k Key) *Document { return s.byKey[k] }

// Load reads all paths: files, directories (recursively *.yaml, *.yml and *.json,
// sorted, without hidden directories), and "-" for stdin. A file named twice is
// read once.
//
// It reads on behind an error and joins all errors; each names file and line. An
// object of a known kind that is there twice is an error that names both places.
func Load(paths []string, opts Options) (*Set, error) {
	opts.Namespace = cmp.Or(opts.Namespace, DefaultNamespace)
	out := &Set{byKey: map[Key]*Document{}}
	var errs []error
	files, err := expand(paths)
	if err != nil {
		errs = append(errs, err)
	}
	room := int64(MaxTotal)
	for _, f := range files {
		data, err := read(f, opts.Stdin, room)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		room -= int64(len(data))
		errs = append(errs, out.add(f, data, opts.Namespace)...)
	}
	return out, errors.Join(errs...)
}

func (s *Set) add(file string, data []byte, namespace string) []error {
	var errs []error
	text := string(data)
	sources, err := parse(file, text)
	if err != nil {
		errs = append(errs, err)
	}
	f := &File{Path: file, Text: text, Sources: sources}
	s.Files = append(s.Files, f)
	for _, src := range sources {
		s.Sources = append(s.Sources, src)
		src.file = f
		if src.json == nil {
			continue
		}
		src.documents, err = unfold(src, namespace)
		if err != nil {
			errs = append(errs, err)
		}
		for _, d := range src.documents {
			if err := s.put(d); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

func (s *Set) put(d *Document) error {
	s.Documents = append(s.Documents, d)
	if d.Object == nil || d.Object.GetName() == "" {
		return nil
	}
	key := KeyOf(d.Kind, d.Object)
	if other := s.byKey[key]; other != nil {
		return fmt.Errorf("%s%s is defined already at %s", d.Prefix(""), d.Name(), other.Place(""))
	}
	s.byKey[key] = d
	return nil
}
