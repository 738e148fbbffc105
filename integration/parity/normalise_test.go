package parity

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A rule replaces what differs from run to run by what it is.
type rule struct {
	pattern *regexp.Regexp
	by      string
}

func replace(pattern, by string) rule { return rule{regexp.MustCompile(pattern), by} }

// rules are applied in this order.
var rules = []rule{
	replace(`(?s)-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----(\\n|\n)?`, "<certificate>"),
	replace(`SWMTKN-1-[a-z0-9]+-[a-z0-9]+`, "<token>"),
	replace(`SWMKEY-1-[A-Za-z0-9+/=]+`, "<unlock key>"),
	replace(`((?:"CertIssuerSubject"|"CertIssuerPublicKey"): ?")[A-Za-z0-9+/=]+"`, `${1}<der>"`),
	replace(`(Issuer Subject|Issuer Public Key):(\s+)[A-Za-z0-9+/=]+`, "$1:$2<der>"),
	replace(`sha256:[0-9a-f]{64}`, "<digest>"),
	replace(`\b[0-9a-f]{64}\b`, "<long id>"),
	replace(`\b[a-z0-9]{25}\b`, "<id>"),
	replace(`(?m)^[a-z0-9]{12}$`, "<id>"),
	replace(`("ID": ?")[a-z0-9]{12}"`, `${1}<id>"`),
	replace(`(?m)^(id: )[a-z0-9]{12}$`, "${1}<id>"),
	replace(`(\.[0-9]+\.)[a-z0-9]{12}@`, "${1}<id>@"),
	replace(`( ID: )[A-Z0-9]{4}(:[A-Z0-9]{4}){11}`, "${1}<engine>"),
	replace(`(?m)^( Runtimes: ).*$`, "${1}<in any order>"),
	replace(`[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9:]{5})`, "<time>"),
	replace(`[0-9]{4}-[01][0-9]-[0-3][0-9] [0-9:]{8}(\.[0-9]+)? [+-][0-9]{4} (UTC|utc)`, "<time>"),
	replace(`(?i)\b(less than a second|about an? (minute|hour)|[0-9]+ (seconds?|minutes?|hours?)) ago\b`, "<ago>"),
	replace(`,"ForceRotate":[0-9]+`, ""),
	replace(`("Index": ?)[0-9]+`, "${1}<n>"),
	replace(`("P[Ii][Dd]": ?)[1-9][0-9]*`, "${1}<pid>"),
	replace(`(:|"PublishedPort": ?)(3[0-9]|4[0-9]|5[0-9]|6[0-5])[0-9]{3}\b`, "${1}<port>"),
	replace(`unix:///proc/[0-9]+/root/run/[a-z/]+\.sock`, "<socket>"),
	replace(`/tmp/[A-Za-z]+[0-9]+/[0-9]{3}\b`, "<dir>"),
}

// normalise makes what two runs print comparable. What variables hold, IDs
// mostly, becomes their name again.
func normalise(text string, vars map[string]string) string {
	for _, name := range byLength(vars) {
		text = strings.ReplaceAll(text, vars[name], "$"+name)
	}
	text = tableIDs(text)
	for _, r := range rules {
		text = r.pattern.ReplaceAllString(text, r.by)
	}
	return columns.ReplaceAllString(text, "$1  ")
}

// columns are as wide as their widest cell, and cells hold ages.
var columns = regexp.MustCompile(`(\S)[ \t]{2,}`)

// byLength are the variables worth replacing, those with the longest value first.
func byLength(vars map[string]string) []string {
	var names []string
	for name, value := range vars {
		if len(value) >= 12 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := len(vars[b]) - len(vars[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

var idHeader = regexp.MustCompile(`^((CONTAINER|NETWORK|IMAGE) )?ID\s`)

// tableIDs replaces the IDs in the first column of a table. They are cut to
// twelve characters there, so that nothing else tells them from words.
func tableIDs(text string) string {
	if !idHeader.MatchString(text) {
		return text
	}
	rows := strings.Split(text, "\n")
	for i, row := range rows[1:] {
		if id, _, ok := strings.Cut(row, " "); ok && id != "" && !strings.HasPrefix(id, "$") {
			rows[i+1] = "<id>" + row[len(id):]
		}
	}
	return strings.Join(rows, "\n")
}

func TestNormalise(t *testing.T) {
	vars := map[string]string{"web": "8h2gcf9wk0uh9hqq2v4k2lqjw", "n": "2"}
	for _, c := range [][2]string{
		{"8h2gcf9wk0uh9hqq2v4k2lqjw\n", "$web\n"},
		{"ID            NAME  REPLICAS\nabcdefghijkl  web   2/2\n", "ID  NAME  REPLICAS\n<id>  web  2/2\n"},
		{"availability\nunacceptable words stay\n", "<id>\nunacceptable words stay\n"},
		{"Running 3 seconds ago", "Running <ago>"},
		{"Running less than a second ago", "Running <ago>"},
		{"web.1.abcdefghijkl@h1    | text", "web.1.<id>@h1  | text"},
		{`"CreatedAt": "2025-11-24T22:10:11.123456789Z",`, `"CreatedAt": "<time>",`},
		{"    \"Index\": 12\n", "    \"Index\": <n>\n"},
		{"*:32768->80/tcp", "*:<port>->80/tcp"},
		{"*:8080->80/tcp", "*:8080->80/tcp"},
		{"swarm join --token SWMTKN-1-4c6-1dz 10.92.1.1:2377", "swarm join --token <token> 10.92.1.1:2377"},
		{`"TrustRoot": "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"`, `"TrustRoot": "<certificate>"`},
	} {
		if got := normalise(c[0], vars); got != c[1] {
			t.Errorf("%q becomes %q, not %q", c[0], got, c[1])
		}
	}
}
