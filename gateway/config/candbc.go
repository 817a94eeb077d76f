package config

import (
	"fmt"

	"fieldferry/bus/can/dbc"
)

// canDBC reads the DBC files of a bus and joins them. What is wrong in them is
// a warning, because the rest of a file is of use; with Options.Strict it is
// an error.
func (f fields) canDBC() *dbc.Database {
	v := f.at("dbc")
	match, _ := dbc.ParseMatch(f.at("match").choice("auto", "pgn", "id")) // choice gives no other
	if !v.has {
		if f.at("match").has {
			f.at("match").fail("says how to match the messages of a DBC file, but there is none", "add dbc: [FILE], or remove it")
		}
		return nil
	}
	items := []value{v}
	if v.n.kind == list {
		items = v.list()
	}
	var files []*dbc.File
	for _, item := range items {
		if file := item.dbcFile(); file != nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil
	}
	db, conflicts := dbc.NewDatabase(match, files...)
	v.dbcConflicts(conflicts)
	return db
}

// dbcConflicts reports messages that are described twice.
func (v value) dbcConflicts(conflicts []dbc.Diagnostic) {
	if n := v.dbcDetails(conflicts); n > 0 {
		v.warn(fmt.Sprintf("%d messages of the DBC files are described differently by an earlier one", n), "fieldferry check lists them")
	}
}

// dbcFile parses one file.
func (v value) dbcFile() *dbc.File {
	path := v.file("")
	if path == "" {
		return nil
	}
	v.located()
	data, _, err := v.l.part(v.path, path, dbc.DefaultMaxSize)
	if err != nil {
		v.fail(fileTrouble("the DBC file "+path, err))
		return nil
	}
	file, diagnostics := dbc.Parse(path, data, dbc.Options{})
	v.dbcDiagnostics(path, diagnostics)
	return file
}

// dbcDiagnostics reports what is wrong in a DBC file: in detail to a person who
// checks, else as one line.
func (v value) dbcDiagnostics(path string, diagnostics []dbc.Diagnostic) {
	if n := v.dbcDetails(diagnostics); n > 0 {
		v.warn(fmt.Sprintf("%d statements of the DBC file %s are faulty", n, shown(path)), "fieldferry check lists them")
	}
}

// dbcDetails reports what a person who checks wants to know, and returns how
// much of it is worth a line to all others.
func (v value) dbcDetails(diagnostics []dbc.Diagnostic) (skipped int) {
	for _, d := range diagnostics {
		isError := d.Severity == dbc.Fatal || d.Severity == dbc.Error && v.l.opts.Strict
		if isError || v.l.opts.Details {
			v.l.foreign = append(v.l.foreign, Problem{File: d.File, Line: d.Line, Col: d.Col, What: d.What, Fix: d.Fix, Warning: !isError})
		} else if d.Severity == dbc.Error {
			skipped++
		}
	}
	return skipped
}
