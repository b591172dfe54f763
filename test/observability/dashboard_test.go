package observability

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/observability/dashboard"
)

const dashboardFile = "../../deploy/chart/files/dashboard.json"

func TestDashboardIsWellFormed(t *testing.T) {
	d, err := dashboard.Load(dashboardFile)
	require.NoError(t, err)
	assert.Equal(t, "egress-tls-webhook", d.UID, "links to it stay valid")
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID], "%q has the id of another panel", p.Title)
		ids[p.ID] = true
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%q is wider than the grid", p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				assert.Empty(t, taken[[2]int{x, y}], "%q lies over another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		assert.Contains(t, []string{"stat", "table", "timeseries"}, p.Type, p.Title)
		assert.NotEmpty(t, p.Description, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
		refs := map[string]bool{}
		for _, q := range append([]*dashboard.Datasource{p.Datasource}, datasources(p)...) {
			if assert.NotNil(t, q, p.Title) {
				assert.Equal(t, dashboard.Datasource{Type: "prometheus", UID: "${datasource}"}, *q, p.Title)
			}
		}
		for _, q := range p.Targets {
			assert.False(t, refs[q.RefID], "%q has two queries %s", p.Title, q.RefID)
			refs[q.RefID] = true
		}
	}
}

// The documentation shows this dashboard; make dashboard draws it.
func TestPictureIsOfTheDashboard(t *testing.T) {
	d, err := dashboard.Load(dashboardFile)
	require.NoError(t, err)
	picture, err := os.ReadFile("../../docs/dashboard.svg")
	require.NoError(t, err)
	for _, p := range d.Panels {
		assert.Contains(t, string(picture), ">"+p.Title+"<")
	}
}

func datasources(p dashboard.Panel) []*dashboard.Datasource {
	var out []*dashboard.Datasource
	for _, q := range p.Targets {
		out = append(out, q.Datasource)
	}
	return out
}
