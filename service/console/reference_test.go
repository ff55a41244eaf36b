package console_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/poolproof/poolproof/service/httpapi/openapi"
)

// swaggerUI is where the renderer of the API's reference lies, as its authors
// published it: the npm package swagger-ui-dist, version 5.35.0, Apache-2.0. To
// renew it, npm pack swagger-ui-dist@VERSION, copy these files and write their
// sums here.
const swaggerUI = "/docs/swagger-ui/"

// oauth4webapi is where the protocol of signing in lies: TestOauth4webapiIsAsPublished.
const oauth4webapi = "/assets/third_party/oauth4webapi/"

func TestSwaggerUIIsAsPublished(t *testing.T) {
	checkSums(t, "static"+swaggerUI, map[string]string{
		"LICENSE.txt":                      "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
		"NOTICE.txt":                       "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
		"swagger-ui-bundle.js":             "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
		"swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
		"swagger-ui.css":                   "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
	})
}

// checkSums fails unless a folder holds these files and no others, each with its
// SHA-256.
func checkSums(t *testing.T, folder string, sums map[string]string) {
	t.Helper()
	files, err := filepath.Glob(folder + "*")
	if err != nil || len(files) != len(sums) {
		t.Errorf("%v: %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		if got := hex.EncodeToString(sum[:]); got != sums[filepath.Base(file)] {
			t.Errorf("%s has the sum %s", file, got)
		}
	}
}

// The page shows every operation of the document and can try them out, under
// the policy of all pages: openBrowser's faults hold each violation of it.
func TestReference(t *testing.T) {
	s := newService(t)
	p := openBrowser(t)
	p.visit(s.url + "/docs")
	operations := len(regexp.MustCompile(`"operationId": "\w+",\s+"tags"`).FindAll(openapi.Document(), -1))
	if operations < 50 {
		t.Fatalf("the document has %d operations", operations)
	}
	p.until(fmt.Sprintf(`document.querySelectorAll(".opblock").length === %d`, operations))
	if title := eval[string](p, `document.title`); title != "API reference · poolproof" {
		t.Errorf("the title is %q", title)
	}
	if errors := eval[int](p, `document.querySelectorAll(".errors-wrapper, .version-pragma").length`); errors != 0 {
		t.Error("the page complains of the document")
	}

	// By keyboard only: open an operation, try it out.
	const health = `#operations-Operation-getHealth`
	p.focus(health + ` .opblock-summary-control`)
	p.press(kb.Enter)
	p.shows(health, `{`)
	p.focus(health + ` .try-out__btn`)
	p.press(kb.Enter)
	p.until(`document.querySelector("` + health + ` .execute")`)
	p.focus(health + ` .execute`)
	p.press(kb.Enter)
	p.until(`document.querySelector("` + health + ` .live-responses-table tbody .response-col_status")?.innerText.startsWith("200")`)
	if asked := p.text(health + ` .request-url`); !strings.Contains(asked, s.url+"/healthz") {
		t.Errorf("it asked %q", asked)
	}

	// Another, with a body and refusals. The regions of two that are open have
	// the same name.
	p.focus(health + ` .opblock-summary-control`)
	p.press(kb.Enter)
	const create = `#operations-Roles-createRole`
	p.focus(create + ` .opblock-summary-control`)
	p.press(kb.Enter)
	p.shows(create, "role_has_members")

	background := func() string {
		return eval[string](p, `getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor`)
	}
	p.scheme("light")
	light := background()
	p.accessible("the reference, in light", everyRule)
	p.scheme("dark")
	p.until(`document.documentElement.classList.contains("dark-mode")`)
	if dark := background(); dark == light {
		t.Errorf("dark and light are both %s", dark)
	}
	p.accessible("the reference, in dark", everyRule)
	p.size(390, 844)
	p.fitsWidth("the reference on a phone")
}
