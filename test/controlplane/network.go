package controlplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// egressSelector makes kube-apiserver reach Services, Pods and nodes through a proxy that listens
// on a socket.
const egressSelector = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %q}}
`

// network is the way from kube-apiserver into the cluster: a proxy that knows which process on this
// machine has an address of the cluster, and what is behind a Service, as kube-proxy does.
type network struct {
	listener net.Listener
	turn     atomic.Int64

	// Set before anyone asks.
	client  kubernetes.Interface
	process func(address string) (backend string)
}

func newNetwork(socket string) (*network, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("failed to listen: %w", err)
	}
	return &network{listener: listener}, nil
}

func (n *network) serve(ctx context.Context) {
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			return
		}
		go n.connect(ctx, conn)
	}
}

// connect answers one CONNECT request, in which HTTP/1.1 turns into whatever the two ends speak.
func (n *network) connect(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // Nothing to do about it.
	request, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	server, err := n.dial(ctx, request.Host)
	if err != nil {
		_, _ = fmt.Fprintf(client, "HTTP/1.1 503 %s\r\n\r\n", err)
		return
	}
	defer server.Close() //nolint:errcheck // Nothing to do about it.
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err == nil {
		pipe(client, server)
	}
}

// dial connects to the process behind an address of the cluster.
func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	address, err := n.route(ctx, address)
	if err != nil {
		return nil, err
	}
	backend := n.process(address)
	if backend == "" {
		return nil, errRefused
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", backend)
}

var errRefused = errors.New("connection refused")

// route returns a Pod's address for that of a Service, each time the next of those that are ready,
// and any other address as it is.
func (n *network) route(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	services, err := n.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, service := range services.Items {
		if service.Spec.ClusterIP != host {
			continue
		}
		for _, p := range service.Spec.Ports {
			if strconv.Itoa(int(p.Port)) == port {
				return n.endpoint(ctx, &service, p.Name)
			}
		}
		return "", errRefused
	}
	return address, nil
}

func (n *network) endpoint(ctx context.Context, service *corev1.Service, port string) (string, error) {
	slices, err := n.client.DiscoveryV1().EndpointSlices(service.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name})
	if err != nil {
		return "", err
	}
	var ready []string
	for _, slice := range slices.Items {
		for _, p := range slice.Ports {
			for _, endpoint := range slice.Endpoints {
				if *p.Name == port && *endpoint.Conditions.Ready {
					ready = append(ready, net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(ready) == 0 {
		return "", errRefused
	}
	return ready[int(n.turn.Add(1))%len(ready)], nil
}
