package report

import (
	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// look is how a word is shown, never by its colour alone, and what it means.
type look struct {
	Class, Icon, Word, Means string
	// Severity is what the filter goes by: error, warning or ok.
	Severity string
	// Rank orders looks, the worst first.
	Rank int
}

const ok = "ok"

// How requests leave, the worst first.
var (
	plaintext   = look{"bad", "unlocked", "In clear", "HTTP leaves the mesh in clear towards a port that speaks TLS: the server refuses it, or everybody on the way reads it.", string(finding.Error), 0}
	doubleTLS   = look{"double", "twice", "TLS in TLS", "The proxy encrypts once more what the application has encrypted: the handshake is likely to fail.", string(finding.Warning), 1}
	dead        = look{"warn", "blocked", "Dead", "Routes lead there, and no request takes them.", string(finding.Warning), 2}
	unreachable = look{"warn", "cross", "Unreachable", "The proxies have nowhere to send the requests to.", string(finding.Warning), 3}
	notVerified = look{"warn", "alert", "Not verified", "Encrypted, but whoever stands in between can pose as the server: its certificate, or the name in it, is not verified.", string(finding.Warning), 4}
	plainPort   = look{"open", "unlocked", "Plain HTTP", "HTTP in clear to a port that is declared for it.", ok, 5}
	asSent      = look{"open", "question", "As sent", "The proxy passes on what the application sends, encrypted or not.", ok, 6}
	application = look{"mutual", "lock", "App's TLS", "The application speaks TLS itself, and the proxy passes it on.", ok, 7}
	mutual      = look{"good", "shield", "mTLS", "The proxy opens TLS, verifies the server, and shows a certificate of its own.", ok, 8}
	tls         = look{"good", "lock", "TLS", "The proxy opens TLS and verifies the server.", ok, 9}
	unused      = look{"open", "none", "Unused", "Nothing leads there.", ok, 10}

	states = []look{plaintext, doubleTLS, dead, unreachable, notVerified, plainPort, asSent, application, mutual, tls, unused}
)

// How serious findings are.
var severities = map[finding.Severity]look{
	finding.Error:   {"bad", "cross", "Error", "Admission refuses the object, in mode enforce.", string(finding.Error), 0},
	finding.Warning: {"warn", "alert", "Warning", "Admission lets the object pass, and says so.", string(finding.Warning), 1},
}

// stateOf tells how requests leave to a port, with the TLS that the proxy adds.
func stateOf(s explain.State, p explain.ClientPort, t *explain.TLSContext) look {
	switch {
	case s == explain.Plaintext && !p.ExpectsTLS:
		return plainPort
	case s == explain.Plaintext:
		return plaintext
	case s == explain.DoubleTLS:
		return doubleTLS
	case s == explain.Dead:
		return dead
	case s == explain.Unreachable:
		return unreachable
	case s == explain.AsSent:
		return asSent
	case s == explain.ApplicationTLS:
		return application
	case s == explain.TLS && (t.CA == "" || (len(t.SubjectAltNames) == 0 && !t.AutoName)):
		return notVerified
	case s == explain.TLS && t.ClientCertificate != "":
		return mutual
	case s == explain.TLS:
		return tls
	}
	return unused
}
