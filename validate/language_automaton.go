package validate

// Regexes as automata. An automaton is the deterministic one of a regex, built
// from the program that regexp/syntax compiles, state by state as strings ask for
// it. A state is the set of instructions reached behind a string, before empty
// ones are followed: those look at the characters on both sides ("^", "$", "\b").
// Characters that no instruction tells apart are one class.

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
)

const (
	// maxStates bounds one automaton. A regex such as (a|b)*a(a|b){20} has a
	// million.
	maxStates = 2000

	stateDead  int32 = -1 // no continuation is accepted
	stateAll   int32 = -2 // every continuation is accepted
	stateStart int32 = 0
)

type automaton struct {
	prog *syntax.Prog
	// bounds holds the first character of each class, in order; the first is 0.
	bounds []rune
	// looks: an instruction looks at its surroundings.
	looks  bool
	states []dfaState
	index  map[string]int32
	seen   []uint32 // per instruction, the last closure that met it
	round  uint32
}

type dfaState struct {
	insts []uint32
	prev  rune // a character like the last one, -1 at the start
	final int8 // 1 accepted, 2 not, 0 not yet known
	next  []int32
}

const nextUnknown int32 = -3

func newAutomaton(re *syntax.Regexp) (*automaton, bool) {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, false
	}
	a := &automaton{prog: prog, index: map[string]int32{}, seen: make([]uint32, len(prog.Inst))}
	a.bounds = []rune{0}
	for i := range prog.Inst {
		in := &prog.Inst[i]
		switch in.Op {
		case syntax.InstEmptyWidth:
			a.looks = true
		case syntax.InstRune, syntax.InstRune1:
			a.bounds = appendBounds(a.bounds, in)
		case syntax.InstRuneAnyNotNL:
			a.bounds = append(a.bounds, '\n', '\n'+1)
		default:
		}
	}
	if a.looks {
		a.bounds = append(a.bounds, '\n', '\n'+1, '0', '9'+1, 'A', 'Z'+1, '_', '_'+1, 'a', 'z'+1)
	}
	slices.Sort(a.bounds)
	a.bounds = slices.Compact(a.bounds)
	prev := rune(-1)
	if !a.looks {
		prev = 0
	}
	a.state([]uint32{uint32(prog.Start)}, prev) //nolint:gosec // an index
	return a, true
}

func appendBounds(bounds []rune, in *syntax.Inst) []rune {
	if len(in.Rune) == 1 {
		r := in.Rune[0]
		bounds = append(bounds, r, r+1)
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				bounds = append(bounds, f, f+1)
			}
		}
		return bounds
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		bounds = append(bounds, in.Rune[i], in.Rune[i+1]+1)
	}
	return bounds
}

// state returns the number of a set of instructions, which it keeps.
func (a *automaton) state(insts []uint32, prev rune) int32 {
	if len(insts) == 0 {
		return stateDead
	}
	key := make([]byte, 0, 4*len(insts)+4)
	key = binary.LittleEndian.AppendUint32(key, uint32(prev)) //nolint:gosec // for identity
	for _, i := range insts {
		key = binary.LittleEndian.AppendUint32(key, i)
	}
	if s, ok := a.index[string(key)]; ok {
		return s
	}
	s := int32(len(a.states)) //nolint:gosec // bounded by maxStates
	a.states = append(a.states, dfaState{insts: insts, prev: prev})
	a.index[string(key)] = s
	return s
}

// closure calls visit for each instruction that insts lead to between prev and
// next without a character.
func (a *automaton) closure(insts []uint32, prev, next rune, w *work, visit func(in *syntax.Inst)) bool {
	a.round++
	var holds syntax.EmptyOp
	if a.looks {
		holds = syntax.EmptyOpContext(prev, next)
	}
	stack := slices.Clone(insts)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if a.seen[i] == a.round {
			continue
		}
		a.seen[i] = a.round
		if !w.spend(2) {
			return false
		}
		in := &a.prog.Inst[i]
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, in.Arg, in.Out)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^holds == 0 {
				stack = append(stack, in.Out)
			}
		default:
			visit(in)
		}
	}
	return true
}

// step returns the state behind one more character; false past a bound.
func (a *automaton) step(s int32, r rune, w *work) (int32, bool) {
	class, found := slices.BinarySearch(a.bounds, r)
	if !found {
		class--
	}
	st := &a.states[s]
	if st.next == nil {
		if !w.spend(len(a.bounds) / 4) {
			return 0, false
		}
		st.next = make([]int32, len(a.bounds))
		for i := range st.next {
			st.next[i] = nextUnknown
		}
	}
	if next := st.next[class]; next != nextUnknown {
		return next, true
	}
	if len(a.states) >= maxStates {
		return 0, false
	}
	var insts []uint32
	if !a.closure(st.insts, st.prev, r, w, func(in *syntax.Inst) {
		if in.Op != syntax.InstMatch && in.Op != syntax.InstFail && in.MatchRune(r) {
			insts = append(insts, in.Out)
		}
	}) {
		return 0, false
	}
	slices.Sort(insts)
	insts = slices.Compact(insts)
	if !w.spend(20 + 2*len(insts)) {
		return 0, false
	}
	next := a.state(insts, a.like(r))
	a.states[s].next[class] = next
	return next, true
}

// like returns a character that lookarounds take for the same.
func (a *automaton) like(r rune) rune {
	switch {
	case !a.looks:
		return 0
	case r == '\n':
		return '\n'
	case syntax.IsWordChar(r):
		return 'a'
	default:
		return ' '
	}
}

// final: the string that led to the state is accepted.
func (a *automaton) final(s int32, w *work) (yes, ok bool) {
	st := &a.states[s]
	if st.final == 0 {
		accepted := false
		if !a.closure(st.insts, st.prev, -1, w, func(in *syntax.Inst) {
			accepted = accepted || in.Op == syntax.InstMatch
		}) {
			return false, false
		}
		st.final = 2
		if accepted {
			st.final = 1
		}
	}
	return st.final == 1, true
}
