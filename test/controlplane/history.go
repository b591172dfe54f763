package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// History records every version of the objects of an API group, of all kinds in one order. It reads
// them from etcd: watches of the API server are one for each kind, in no order among them, and they
// lose what is stored while the API server is away.
type History struct {
	cancel context.CancelFunc
	done   chan struct{}
	see    func(Version) // Nil: they are kept.

	mu       sync.Mutex
	versions []Version
	err      error
}

// Version is one write to an object.
type Version struct {
	// Revision is etcd's count of writes, which the API server makes the resourceVersion.
	Revision int64
	// Resource, Namespace and Name say which object.
	Resource, Namespace, Name string
	// Object is what was stored, as it was stored: without resourceVersion. Nil if it was deleted.
	Object *unstructured.Unstructured
}

// Record begins a History of an API group, such as networking.istio.io. What is stored after it
// returns is in it.
func (cp *ControlPlane) Record(ctx context.Context, group string) (*History, error) {
	return cp.Follow(ctx, group, nil)
}

// Follow is Record for as long as one likes: it hands each Version to see in place of keeping it.
func (cp *ControlPlane) Follow(ctx context.Context, group string, see func(Version)) (*History, error) {
	ctx, cancel := context.WithCancel(ctx)
	// "0" is the byte after "/", so this is all that begins with the prefix.
	prefix := "/registry/" + group
	body, err := json.Marshal(map[string]any{"create_request": map[string]any{"key": []byte(prefix + "/"), "range_end": []byte(prefix + "0")}})
	if err != nil {
		cancel()
		return nil, err
	}
	h := &History{cancel: cancel, done: make(chan struct{}), see: see}
	stream, err := watchEtcd(ctx, cp.env.ControlPlane.Etcd.URL.String(), string(body))
	if err == nil {
		decoder := json.NewDecoder(stream)
		if _, err = next(decoder); err == nil { // It says that the watch is on.
			go h.record(ctx, stream, decoder)
			return h, nil
		}
		_ = stream.Close()
	}
	cancel()
	return nil, fmt.Errorf("failed to record %s: %w", group, err)
}

// Versions are those so far, oldest first.
func (h *History) Versions() ([]Version, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clip(h.versions), h.err
}

// Stop ends it. Versions still tells what was recorded.
func (h *History) Stop() {
	h.cancel()
	<-h.done
}

func (h *History) record(ctx context.Context, stream io.ReadCloser, decoder *json.Decoder) {
	defer close(h.done)
	defer stream.Close() //nolint:errcheck // Only read from.
	for {
		versions, err := next(decoder)
		if h.see != nil {
			for _, v := range versions {
				h.see(v)
			}
			versions = nil
		}
		h.mu.Lock()
		h.versions = append(h.versions, versions...)
		if err != nil && ctx.Err() == nil {
			h.err = fmt.Errorf("the recording broke off: %w", err)
		}
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func watchEtcd(ctx context.Context, url, body string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v3/watch", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, errors.New(response.Status)
	}
	return response.Body, nil
}

// next reads one message of etcd's watch, as its JSON gateway writes it.
func next(decoder *json.Decoder) ([]Version, error) {
	var message struct {
		Result struct {
			Canceled     bool   `json:"canceled"`
			CancelReason string `json:"cancel_reason"`
			Events       []struct {
				Type string `json:"type"`
				KV   struct {
					Key         []byte `json:"key"`
					Value       []byte `json:"value"`
					ModRevision int64  `json:"mod_revision,string"`
				} `json:"kv"`
			} `json:"events"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	switch err := decoder.Decode(&message); {
	case err != nil:
		return nil, err
	case message.Error != nil:
		return nil, errors.New(string(message.Error))
	case message.Result.Canceled:
		return nil, errors.New(message.Result.CancelReason)
	}
	var versions []Version
	for _, event := range message.Result.Events {
		// /registry/GROUP/RESOURCE/NAMESPACE/NAME
		parts := strings.Split(string(event.KV.Key), "/")
		if len(parts) != 6 {
			continue
		}
		version := Version{Revision: event.KV.ModRevision, Resource: parts[3], Namespace: parts[4], Name: parts[5]}
		if event.Type != "DELETE" {
			version.Object = &unstructured.Unstructured{}
			if err := version.Object.UnmarshalJSON(event.KV.Value); err != nil {
				return versions, fmt.Errorf("failed to read %s: %w", event.KV.Key, err)
			}
		}
		versions = append(versions, version)
	}
	return versions, nil
}
