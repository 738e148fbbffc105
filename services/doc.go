// Package services keeps the tasks of every service as they should be. It runs
// on the leader alone: one loop follows the store, asks the pure reconcilers in
// the folders below for what a changed service needs, and proposes that. It
// hands on to the scheduler, which places the tasks that the loop creates.
package services
