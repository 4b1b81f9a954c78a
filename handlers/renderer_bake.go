package handlers

import (
	"html/template"
	"slices"
	"strings"
	"text/template/parse"
)

// bake writes what is the same on every page in one language into the templates of
// t: texts without placeholders, the language and the style sheet. Looking these up
// by reflection, once for each word on a page, is most of what a page costs. t must
// have been executed, so that html/template has decided how each value is escaped:
// only values that stand as text or in a quoted attribute are written in.
func bake(t *template.Template, text words, style template.CSS) {
	for _, named := range t.Templates() {
		if named.Tree != nil {
			bakeList(named.Tree.Root, text, style)
		}
	}
}

func bakeList(list *parse.ListNode, text words, style template.CSS) {
	if list == nil {
		return
	}
	out := list.Nodes[:0]
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			if v, ok := bakeAction(n.Pipe, text, style); ok {
				node = &parse.TextNode{NodeType: parse.NodeText, Pos: n.Pos, Text: []byte(v)}
			}
		case *parse.IfNode:
			bakeList(n.List, text, style)
			bakeList(n.ElseList, text, style)
		case *parse.WithNode:
			bakeList(n.List, text, style)
			bakeList(n.ElseList, text, style)
		case *parse.RangeNode:
			bakeList(n.List, text, style)
			bakeList(n.ElseList, text, style)
		}
		if added, ok := node.(*parse.TextNode); ok && len(out) > 0 {
			if before, ok := out[len(out)-1].(*parse.TextNode); ok {
				before.Text = slices.Concat(before.Text, added.Text)
				continue
			}
		}
		out = append(out, node)
	}
	list.Nodes = out
}

// bakeAction is what {{.T "key"}}, {{$.T "key"}}, {{.Lang}} or {{.Style}} writes.
func bakeAction(pipe *parse.PipeNode, text words, style template.CSS) (written string, ok bool) {
	if len(pipe.Decl) > 0 || len(pipe.Cmds) == 0 {
		return "", false
	}
	var name string
	args := pipe.Cmds[0].Args
	switch n := args[0].(type) {
	case *parse.FieldNode:
		name = strings.Join(n.Ident, ".")
	case *parse.VariableNode: // $.T, or .T of the dot under another name: nothing else has texts
		if len(n.Ident) == 2 && n.Ident[1] == "T" {
			name = "T"
		}
	}
	var escapers []string
	for _, cmd := range pipe.Cmds[1:] {
		escapers = append(escapers, cmd.String())
	}
	switch {
	case name == "Style" && len(args) == 1 && slices.Equal(escapers, []string{"_html_template_cssvaluefilter"}):
		return string(style), true // has its type
	case len(escapers) != 1 || !slices.Contains([]string{"_html_template_htmlescaper", "_html_template_attrescaper", "_html_template_rcdataescaper"}, escapers[0]):
		return "", false
	case name == "Lang" && len(args) == 1:
		return escaped(text.Lang()), true
	case name == "T" && len(args) == 2:
		if key, ok := args[1].(*parse.StringNode); ok {
			return escaped(text.T(key.Text)), true
		}
	}
	return "", false
}

// escaped is v as html/template writes it as text and in a quoted attribute.
func escaped(v string) string {
	return strings.ReplaceAll(template.HTMLEscapeString(v), "+", "&#43;")
}
