package console_test

import (
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
