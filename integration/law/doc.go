// Package law holds the tests of what every package has to keep to: who may
// import whom, and that each says what it is for.
package law
