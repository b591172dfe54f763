// Package controlplane runs the product against a real API server: kube-apiserver, etcd and kubectl
// built from source, the Istio CRDs, and the real egress-tls-webhook binary as a process of its own,
// behind the webhook configurations of deploy/.
//
//	Assets ── Start ── ControlPlane ──────────── StartWebhook ── Webhook
//	(build)   (etcd, kube-apiserver, CRDs)       (process)         │ its log says where it listens
//	               ^                                               v
//	               └────── webhook configurations ── url ── [Front ──] 127.0.0.1:PORT
//
// With Options.Cluster it is a cluster, in which manifests work as they are: kube-controller-manager
// makes Pods of Deployments, a node runs each as a process with its volumes, its ServiceAccount's
// token and its probe, and kube-apiserver reaches them through their Service.
//
//	kube-controller-manager ── Pods ── node ── processes
//	                                              ^
//	kube-apiserver ── egress selector ── network ─┘ clusterIP:443 is the 127.0.0.1:PORT of a ready Pod
//
// Everything listens on loopback, on ports that the kernel picks, and dies with the process that
// started it, even if that one is killed.
package controlplane
