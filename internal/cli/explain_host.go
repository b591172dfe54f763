package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parseHost reads what people have at hand: a host, exact or a wildcard, with or
// without a port, an IP address, or a URL. Port 0: none is given.
func parseHost(text string) (host string, port uint32, err error) {
	host = strings.TrimSpace(text)
	if _, rest, isURL := strings.Cut(host, "://"); isURL {
		host = rest
	}
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.String(), 0, nil
	}
	if name, number, hasPort := cutPort(host); hasPort {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q is no port: it is a number from 1 to 65535", number)
		}
		host, port = name, uint32(n)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String(), port, nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	// Istio knows wildcards only as "*" and in place of the first label.
	if plain := strings.TrimPrefix(host, "*"); host == "" || strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" ||
		strings.Contains(plain, "..") || strings.ContainsAny(plain, "*") || strings.HasPrefix(host, ".") {
		return "", 0, fmt.Errorf("%q is no host: give a name such as api.example.com, *.example.com, an IP address or a URL", text)
	}
	return host, port, nil
}

func cutPort(host string) (name, port string, ok bool) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port, true
	}
	return host, "", false
}
