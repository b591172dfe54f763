package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// adminUser is who the teams are for the API server.
const adminUser = "admin"

// hostileUser is who the AdmissionReviews of hostile clients say they are of.
const hostileUser = "hostile"

// answers are what the replicas say in their logs that they have answered.
type answers struct {
	mu sync.Mutex
	// byTeams are those to the API server for the teams, by verdict in the validating phase.
	byTeams map[string]int
	// byFirst are all of the replica that stays, by phase and verdict.
	byFirst map[string]int
}

func newAnswers() answers { return answers{byTeams: map[string]int{}, byFirst: map[string]int{}} }

// logLine reads a line of a replica's log.
func (s *soak) logLine(replica int, line []byte) {
	var entry struct {
		Level, Msg, User, Phase, Verdict, Server, Address string
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		s.problem("replica %d said %q", replica, line)
		return
	}
	if strings.EqualFold(entry.Level, "error") {
		s.problem("replica %d said %s", replica, line)
	}
	if replica == 0 && entry.Msg == "listening" && entry.Server == "pprof" {
		s.pprof.Store(entry.Address)
	}
	if entry.Msg != "decided" {
		return
	}
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	if entry.User == adminUser && entry.Phase == "validate" {
		s.answers.byTeams[entry.Verdict]++
	}
	if replica == 0 {
		s.answers.byFirst[entry.Phase+" "+entry.Verdict]++
	}
}

// judgeAnswers holds what the clients were told, what the logs say and what the metrics count against
// each other. The answers of a replica that was killed may have reached nobody.
func (s *soak) judgeAnswers(ctx context.Context) {
	metrics, err := s.scrape(ctx)
	if err != nil {
		s.problem("%v", err)
		return
	}
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	for _, c := range []struct {
		verdict string
		told    int
	}{{"refused", s.counted(refused)}, {"error", s.counted(unreadable)}} {
		if said := s.answers.byTeams[c.verdict]; said < c.told || said > c.told+s.counted(repeated) {
			s.problem("clients were answered %d times with %s, and the replicas say that it was %d times", c.told, c.verdict, said)
		}
	}
	counted := map[string]int{}
	for _, m := range metrics {
		if m.name == "egress_tls_admission_requests_total" && m.labels["verdict"] != "ignored" {
			counted[m.labels["phase"]+" "+m.labels["verdict"]] += int(m.value)
		}
	}
	if fmt.Sprint(counted) != fmt.Sprint(s.answers.byFirst) {
		s.problem("the metrics of the replica that stays say %v, its log says %v", counted, s.answers.byFirst)
	}
	for _, m := range metrics {
		if m.name == "egress_tls_reconcile_failing" && m.value != 0 || m.name == "egress_tls_reconcile_errors_total" && m.labels["cause"] == "stuck" && m.value != 0 {
			s.problem("the replica that stays says %s %v %v", m.name, m.labels, m.value)
		}
	}
}

// get reads what is there with 200.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, response.Status)
	}
	return string(data), err
}

type metric struct {
	name   string
	labels map[string]string
	value  float64
}

var (
	metricLine  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	metricLabel = regexp.MustCompile(`([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"`)
)

// scrape reads the metrics of the replica that stays.
func (s *soak) scrape(ctx context.Context) ([]metric, error) {
	text, err := get(ctx, "http://"+s.servers[0].MetricsAddress()+"/metrics")
	if err != nil {
		return nil, err
	}
	var out []metric
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		match := metricLine.FindStringSubmatch(lines.Text())
		if match == nil {
			continue // A comment.
		}
		m := metric{name: match[1], labels: map[string]string{}}
		for _, label := range metricLabel.FindAllStringSubmatch(match[2], -1) {
			m.labels[label[1]] = label[2]
		}
		if m.value, err = strconv.ParseFloat(match[3], 64); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, lines.Err()
}
