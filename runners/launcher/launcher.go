// Package launcher carries the Python files that run an entrypoint, file.py:function, with the run's parameters and nothing
// installed. How they come to the job is each runner's own matter.
package launcher

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed run.py weir_launcher.py weir_prefect.py
var files embed.FS

// Script is the file that Python is given, with two arguments: the entrypoint, and the folder that relative files are taken
// from. The other files are beside it.
const Script = "run.py"

// Files are the launcher's files, all in one folder.
func Files() fs.FS { return files }

// Version tells launchers of different content apart: an older worker's jobs keep theirs, and Python its cache.
var Version = version()

func version() string {
	hash := sha256.New()
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // it is part of this program
	}
	for _, e := range entries {
		b, err := files.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", e.Name(), len(b), b)
	}
	return hex.EncodeToString(hash.Sum(nil)[:6])
}

// Split cuts file.py:function at the last colon.
func Split(entrypoint string) (file, function string, ok bool) {
	i := strings.LastIndexByte(entrypoint, ':')
	if i <= 0 || i == len(entrypoint)-1 {
		return "", "", false
	}
	return entrypoint[:i], entrypoint[i+1:], true
}
