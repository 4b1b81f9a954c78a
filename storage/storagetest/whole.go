package storagetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// filled is a T of which every field has a value of its own, those of its
// structs too, so that a field that a store leaves out is missed, also one that
// is added one day. Times are of the past, to the millisecond. It is the same with
// every call.
func filled[T any]() T {
	var v T
	fill(reflect.ValueOf(&v).Elem(), reflect.TypeFor[T]().Name())
	return v
}

func fill(v reflect.Value, name string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2025, 1, 1, 0, len(name), 0, int(7*time.Millisecond), time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"of":"` + name + `"}`))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		n := int64(len(name))
		if v.Type() == reflect.TypeFor[time.Duration]() {
			n *= int64(time.Second)
		}
		v.SetInt(n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(name))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), name+"-1")
		fill(v.Index(1), name+"-2")
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{name: "value", "": "empty"}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	default:
		panic("no value for " + name + ", a " + v.Type().String())
	}
}

// same reports every field in which got is not want. An empty list is a nil one.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	compare(t, what, reflect.ValueOf(got), reflect.ValueOf(want))
}

func compare(t testing.TB, what string, got, want reflect.Value) {
	t.Helper()
	differs := false
	switch a := got.Interface().(type) {
	case time.Time:
		differs = !a.Equal(want.Interface().(time.Time))
	case json.RawMessage: // a database may write it in another way
		differs = compact(a) != compact(want.Interface().(json.RawMessage))
	case []byte:
		differs = !bytes.Equal(a, want.Bytes())
	default:
		switch got.Kind() {
		case reflect.Struct:
			for i := range got.NumField() {
				compare(t, what+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))
			}
		case reflect.Slice:
			if differs = got.Len() != want.Len(); !differs {
				for i := range got.Len() {
					compare(t, fmt.Sprintf("%s[%d]", what, i), got.Index(i), want.Index(i))
				}
			}
		case reflect.Pointer:
			if differs = got.IsNil() != want.IsNil(); !differs && !got.IsNil() {
				compare(t, what, got.Elem(), want.Elem())
			}
		case reflect.Map:
			differs = got.Len() != want.Len() || got.Len() > 0 && !reflect.DeepEqual(got.Interface(), want.Interface())
		default:
			differs = !got.Equal(want)
		}
	}
	if differs {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return string(raw)
	}
	return b.String()
}

// cloned is a copy of v that shares nothing with it.
func cloned(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	if v.Type() == reflect.TypeFor[time.Time]() {
		return c
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			c.Field(i).Set(cloned(v.Field(i)))
		}
	case reflect.Slice:
		c.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			c.Index(i).Set(cloned(v.Index(i)))
		}
	case reflect.Map:
		c.Set(reflect.MakeMap(v.Type()))
		for _, k := range v.MapKeys() {
			c.SetMapIndex(k, v.MapIndex(k))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			c.Set(reflect.New(v.Type().Elem()))
			c.Elem().Set(cloned(v.Elem()))
		}
	}
	return c
}

// spoil changes whatever v has in common with other values.
func spoil(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			spoil(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i))
			v.Index(i).SetZero()
		}
	case reflect.Map:
		v.Clear()
	case reflect.Pointer:
		if !v.IsNil() {
			v.Elem().SetZero()
		}
	}
}

// now is the time, as exactly as every store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
