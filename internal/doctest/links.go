package doctest

import (
	"io/fs"
	"os"
	"strings"
)

// documentChecks lists the checks that need only the documents and the tree.
var documentChecks = []func(root string, docs []*markdown) []Problem{
	checkLinks, checkPictures, checkChapters, checkLength, checkMake, checkPaths, checkIDs, checkGlossary, checkProse,
}

// checkDocuments checks all documents of the repository at root.
func checkDocuments(root string) ([]Problem, error) {
	docs, err := readDocuments(root)
	if err != nil {
		return nil, err
	}
	var ps []Problem
	for _, check := range documentChecks {
		ps = append(ps, check(root, docs)...)
	}
	return ps, nil
}

// exists reports whether the repository has the file or folder. Programs in bin
// do not count, because a clone does not have them.
func exists(root, file string) bool {
	_, err := fs.Stat(os.DirFS(root), file) // fails above the root, too
	return err == nil && !strings.HasPrefix(file+"/", "bin/")
}

// checkLinks reports links and images that lead nowhere.
func checkLinks(root string, docs []*markdown) []Problem {
	var ps []Problem
	anchors := make(map[string]map[string]bool)
	for _, d := range docs {
		anchors[d.file] = d.anchors()
	}
	for _, d := range docs {
		for _, l := range d.links() {
			file, anchor, ok := d.resolve(l.text)
			if !ok {
				continue
			}
			if !exists(root, file) {
				ps = append(ps, d.problem(l.line, "the link to %q leads nowhere: there is no file %q in the repository; correct the path, which starts at this document, or add the file", l.text, file))
			} else if a := anchors[file]; a != nil && anchor != "" && !a[anchor] {
				ps = append(ps, d.problem(l.line, "the link to %q leads nowhere: no heading of %s has the anchor #%s; correct the anchor or the heading", l.text, file, anchor))
			}
		}
	}
	return ps
}
