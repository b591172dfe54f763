package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// review is an AdmissionReview with places for the number of the request: no two requests
// have the same uid, nor the same object.
type review [][]byte

// openNumber stands for the number of the request, as 12 hexadecimal digits.
const openNumber = "c0ffee5eed00"

// body appends the review for the n-th request to buf.
func (r review) body(buf []byte, n uint64) []byte {
	for i, part := range r {
		if i > 0 {
			buf = fmt.Appendf(buf, "%012x", n&(1<<48-1))
		}
		buf = append(buf, part...)
	}
	return buf
}

// newReview is what the API server sends for a VirtualService that is applied on the
// server's side. old is nil for a CREATE. Each call has a uid of its own, which begins with
// call.
func newReview(call string, object, old *unstructured.Unstructured) (review, error) {
	raw, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	force := true
	options, err := json.Marshal(metav1.PatchOptions{
		TypeMeta:     metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PatchOptions"},
		FieldManager: fieldManager, Force: &force, FieldValidation: "Strict",
	})
	if err != nil {
		return nil, err
	}
	dryRun := false
	kind := metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}
	resource := metav1.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: "virtualservices"}
	request := &admissionv1.AdmissionRequest{
		UID: types.UID(call + "-0000-4000-8000-" + openNumber), Kind: kind, Resource: resource, RequestKind: &kind, RequestResource: &resource,
		Namespace: object.GetNamespace(), Name: object.GetName(), Operation: admissionv1.Create,
		UserInfo: authenticationv1.UserInfo{
			Username: "system:serviceaccount:argocd:argocd-application-controller",
			UID:      "5e3b6d4c-0f5d-4a53-9b1e-2d7ad2a2b6ce",
			Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:argocd", "system:authenticated"},
			Extra: map[string]authenticationv1.ExtraValue{
				"authentication.kubernetes.io/credential-id": {"JTI=9c3a6e58-6f0e-4f49-8a0c-0a3b4ed2b9c1"},
				"authentication.kubernetes.io/node-name":     {"node-a-7"},
				"authentication.kubernetes.io/node-uid":      {"e4a8e8f4-3f6c-4b8e-8d0e-2b6f9e7c1d55"},
				"authentication.kubernetes.io/pod-name":      {"argocd-application-controller-0"},
				"authentication.kubernetes.io/pod-uid":       {"1f0b7c6d-64a5-4d52-b2b5-6f1a8f3f7a10"},
			},
		},
		Object: runtime.RawExtension{Raw: bytes.TrimSpace(raw)}, Options: runtime.RawExtension{Raw: options}, DryRun: &dryRun,
	}
	if old != nil {
		if raw, err = old.MarshalJSON(); err != nil {
			return nil, err
		}
		request.Operation, request.OldObject.Raw = admissionv1.Update, bytes.TrimSpace(raw)
	}
	data, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		return nil, err
	}
	return bytes.Split(data, []byte(openNumber)), nil
}

const fieldManager = "argocd-controller"

// apply applies an object on the server's side and returns it as the API server makes it, with
// managedFields and all.
func apply(ctx context.Context, c client.Client, text string, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		return nil, err
	}
	options = append(options, client.FieldOwner(fieldManager), client.ForceOwnership)
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return nil, fmt.Errorf("failed to apply %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return object, nil
}
