// Mutation shows that the invariants of ARCHITECTURE.md are held by tests that see them broken: for each it takes out the line that
// keeps it, in a copy of the tree, and runs the test that must fail then.
//
//	go run ./tools/mutation          # all of them
//	go run ./tools/mutation 3 7      # those of invariants 3 and 7
//
// That the lines and tests are still there is checked with every run of the tests; see mutation_test.go.
package main
