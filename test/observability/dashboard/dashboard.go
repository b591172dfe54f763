// Package dashboard reads the Grafana dashboard of the chart. It knows the fields that the dashboard
// uses, as Grafana's dashboard schema names them, and no others: a field that is misspelt is an error
// here, where Grafana would ignore it.
package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Dashboard is a dashboard of schema version 41.
type Dashboard struct {
	UID                  string                    `json:"uid"`
	Title                string                    `json:"title"`
	Description          string                    `json:"description"`
	Tags                 []string                  `json:"tags"`
	SchemaVersion        int                       `json:"schemaVersion"`
	Editable             bool                      `json:"editable"`
	GraphTooltip         int                       `json:"graphTooltip"`
	Timezone             string                    `json:"timezone"`
	Refresh              string                    `json:"refresh"`
	FiscalYearStartMonth int                       `json:"fiscalYearStartMonth"`
	Time                 struct{ From, To string } `json:"time"`
	Annotations          struct {
		List []struct{} `json:"list"`
	} `json:"annotations"`
	Links []struct {
		Type        string `json:"type"`
		Title       string `json:"title"`
		URL         string `json:"url"`
		TargetBlank bool   `json:"targetBlank"`
	} `json:"links"`
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Panels []Panel `json:"panels"`
}

// Variable is chosen at the top of the dashboard.
type Variable struct {
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Label      string          `json:"label"`
	Datasource *Datasource     `json:"datasource"`
	Query      json.RawMessage `json:"query"` // a text or an object, by the type
	Definition string          `json:"definition"`
	Refresh    int             `json:"refresh"`
	Sort       int             `json:"sort"`
	Multi      bool            `json:"multi"`
	IncludeAll bool            `json:"includeAll"`
	Current    struct {
		Text  string `json:"text"`
		Value string `json:"value"`
	} `json:"current"`
	Options []struct{} `json:"options"`
	Regex   string     `json:"regex"`
	Hide    int        `json:"hide"`
}

// Datasource is where a query goes.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one panel, or the title of a row.
type Panel struct {
	Type            string      `json:"type"`
	ID              int         `json:"id"`
	Title           string      `json:"title"`
	Description     string      `json:"description"`
	Collapsed       bool        `json:"collapsed"`
	Panels          []Panel     `json:"panels"`
	Datasource      *Datasource `json:"datasource"`
	GridPos         GridPos     `json:"gridPos"`
	Targets         []Target    `json:"targets"`
	FieldConfig     FieldConfig `json:"fieldConfig"`
	Options         Options     `json:"options"`
	Transformations []struct {
		ID      string           `json:"id"`
		Options TransformOptions `json:"options"`
	} `json:"transformations"`
}

// GridPos is a place on a grid that is 24 wide.
type GridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// Target is a query.
type Target struct {
	RefID        string      `json:"refId"`
	Datasource   *Datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
	Instant      bool        `json:"instant"`
	Format       string      `json:"format"`
}

// FieldConfig says how values are shown.
type FieldConfig struct {
	Defaults struct {
		Unit       string     `json:"unit"`
		Min        *float64   `json:"min"`
		Color      Color      `json:"color"`
		Thresholds Thresholds `json:"thresholds"`
		Custom     struct {
			DrawStyle   string `json:"drawStyle"`
			LineWidth   int    `json:"lineWidth"`
			FillOpacity int    `json:"fillOpacity"`
			ShowPoints  string `json:"showPoints"`
			Stacking    struct {
				Mode  string `json:"mode"`
				Group string `json:"group"`
			} `json:"stacking"`
		} `json:"custom"`
	} `json:"defaults"`
	Overrides []struct {
		Matcher struct {
			ID      string `json:"id"`
			Options string `json:"options"`
		} `json:"matcher"`
		Properties []struct {
			ID    string          `json:"id"`
			Value json.RawMessage `json:"value"` // by the id
		} `json:"properties"`
	} `json:"overrides"`
}

// Color is how a colour is chosen.
type Color struct {
	Mode string `json:"mode"`
}

// Thresholds are the colours of values, each from its step on.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"`
	} `json:"steps"`
}

// Options are those of all types of panels that are used.
type Options struct {
	ReduceOptions struct {
		Calcs  []string `json:"calcs"`
		Fields string   `json:"fields"`
		Values bool     `json:"values"`
	} `json:"reduceOptions"`
	ColorMode   string `json:"colorMode"`
	GraphMode   string `json:"graphMode"`
	TextMode    string `json:"textMode"`
	JustifyMode string `json:"justifyMode"`
	Orientation string `json:"orientation"`
	Legend      struct {
		DisplayMode string   `json:"displayMode"`
		Placement   string   `json:"placement"`
		ShowLegend  bool     `json:"showLegend"`
		Calcs       []string `json:"calcs"`
	} `json:"legend"`
	Tooltip struct {
		Mode string `json:"mode"`
		Sort string `json:"sort"`
	} `json:"tooltip"`
	ShowHeader bool   `json:"showHeader"`
	CellHeight string `json:"cellHeight"`
	SortBy     []struct {
		DisplayName string `json:"displayName"`
		Desc        bool   `json:"desc"`
	} `json:"sortBy"`
}

// TransformOptions are those of merge, which has none, and of organize.
type TransformOptions struct {
	ExcludeByName map[string]bool   `json:"excludeByName"`
	IndexByName   map[string]int    `json:"indexByName"`
	RenameByName  map[string]string `json:"renameByName"`
}

// Load reads a dashboard strictly.
func Load(file string) (*Dashboard, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	d := &Dashboard{}
	if err := decoder.Decode(d); err != nil {
		return nil, fmt.Errorf("failed to read %s: %w", file, err)
	}
	return d, nil
}
